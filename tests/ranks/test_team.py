"""Several ranks on this machine's CPU, of which this process is the first."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from paraformer_bench.executions._ranks import ALONE
from paraformer_bench.instrument.bench import Bench, build_model, make_input
from paraformer_bench.instrument.device import open_device
from paraformer_bench.instrument.gate import Mismatch
from paraformer_bench.instrument.meters import HostLoad
from paraformer_bench.instrument.visit import Pool
from paraformer_bench.ranks import follower
from paraformer_bench.ranks.follower import needs_ranks, threads_of
from paraformer_bench.ranks.team import SpreadBuilder, Team
from paraformer_bench.study import child
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.plugins import load_plugins
from tests.fakes import tiny_case

pytestmark = pytest.mark.slow

MakeCase = Callable[..., Case]

PLUGIN = """
import torch

from paraformer_bench import Unsupported, register_execution


@register_execution("odd_rank", spread="ranks")
def prepare(model, example, ranks):
    if example.dtype == torch.float64 and ranks.rank == 1:
        raise Unsupported("not in my turn")
    if example.dtype == torch.float32 and ranks.rank == 2:
        raise RuntimeError("[enforce fail] can't allocate memory: you tried 10 PB")

    def run(x):
        out = model(x) / ranks.size
        return ranks.sum(out * (1 + 0.1 * ranks.rank))

    return run
"""


def team_of(cases: list[Case], host: HostLoad, *plugins: Path) -> Team:
    job = BlockJob(
        device="cpu",
        block=0,
        protocol=Protocol(),
        seed=0,
        plugins=[str(plugin) for plugin in plugins],
        groups=[cases],
    )
    return Team(job, host, lambda status, reason: None)


class Ranks:
    """Three followers, started once for all tests of this file."""

    def __init__(self, plugin: Path) -> None:
        self.device = open_device("cpu")
        self.host = self.device.host
        shape = {"model": "paraformer", "execution": "sharded", "depth": 4}
        self.team = team_of(
            [tiny_case(devices=devices, **shape) for devices in (2, 4)], self.host, plugin
        )
        self.builder = SpreadBuilder(self.device, 0, self.team)

    def prepare(self, case: Case) -> Bench:
        return self.builder.prepare(case, 0.01, {})


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    plugin = tmp_path_factory.mktemp("plugins") / "odd_rank.py"
    plugin.write_text(PLUGIN)
    load_plugins([plugin])
    ranks = Ranks(plugin)
    yield ranks
    ranks.team.close()


@pytest.fixture(autouse=True)
def as_in_a_worker() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def spread(make_case: MakeCase) -> MakeCase:
    def spread(devices: int, depth: int, **fields: object) -> Case:
        shape = {"model": "paraformer", "execution": "sharded", "dtype": "float64", "batch": 2}
        return make_case(devices=devices, depth=depth, **shape | fields)

    return spread


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
@pytest.mark.parametrize("devices", [2, 4])
def test_it_equals_the_loop(ranks: Ranks, spread: MakeCase, devices: int, depth: int) -> None:
    case = spread(devices, depth)
    ready = ranks.prepare(case)
    assert ready.facts.relative_error < 1e-12  # against the loop in float64
    output = ready.call()
    for _ in range(3):  # nothing of one call may leak into the next
        again = ready.call()
        assert torch.equal(output, again)
    noted = ready.facts.telemetry["ranks"]
    assert len(noted["peak_bytes"]) == len(noted["parameter_bytes"]) == devices
    assert ready.facts.peak_bytes == max(noted["peak_bytes"])
    assert noted["communication_seconds"] > 0
    assert noted["threads_per_rank"] == 1
    # Embedding and head are everywhere, a branch in one place.
    loop = build_model(case, torch.device("cpu"))
    branch = sum(p.numel() * p.element_size() for p in loop.trunk.branches[0].parameters())
    total = ready.facts.parameter_bytes
    shares = [-(-(depth - rank) // devices) if rank < depth else 0 for rank in range(devices)]
    assert noted["parameter_bytes"] == [total - (depth - share) * branch for share in shares]


def test_other_inputs_reach_all_ranks(ranks: Ranks, spread: MakeCase) -> None:
    case = spread(4, 3, branch_depth=1, scope="trunk")
    loop = build_model(case, torch.device("cpu"))
    ranks.team.begin(case, 0)
    net = build_model(case, torch.device("cpu"))
    example = make_input(case, torch.device("cpu"), 1)
    call = ranks.team.lead(case, net, example)
    for seed in range(3):
        x = make_input(case, torch.device("cpu"), seed)
        torch.testing.assert_close(call(x), loop(x), rtol=1e-12, atol=1e-12)
    ranks.team.drop([case])


def test_models_with_several_sums(ranks: Ranks, spread: MakeCase) -> None:
    for model, fields in (("parallel_vit", {"branch_depth": 2}), ("paraformer_code", {})):
        ready = ranks.prepare(spread(4, 6, model=model, **fields))
        assert ready.facts.relative_error < 1e-12


@pytest.mark.parametrize(
    ("devices", "depth", "scope"), [(2, 3, "whole"), (4, 1, "trunk"), (4, 8, "whole")]
)
def test_a_pipeline_equals_the_loop(
    ranks: Ranks, spread: MakeCase, devices: int, depth: int, scope: str
) -> None:
    """With two parts of the batch, and stages without a block at depth 1."""
    case = spread(devices, depth, model="serial", execution="pipelined", scope=scope)
    ready = ranks.prepare(case)
    assert ready.facts.relative_error < 1e-12
    assert torch.equal(ready.call(), ready.call())
    noted = ready.facts.telemetry["ranks"]
    assert sum(noted["parameter_bytes"]) == ready.facts.parameter_bytes  # each in one place
    assert noted["communication_seconds"] > 0


def test_a_pipeline_needs_blocks_in_a_row(ranks: Ranks, spread: MakeCase) -> None:
    with pytest.raises(Unsupported, match="follow each other"):
        ranks.prepare(spread(2, 2, execution="pipelined"))
    assert not ranks.team.broken


@pytest.mark.parametrize(("devices", "depth"), [(2, 3), (4, 1)])
def test_tensor_parallelism_equals_the_loop(
    ranks: Ranks, spread: MakeCase, devices: int, depth: int
) -> None:
    case = spread(devices, depth, model="serial", execution="tensor_parallel", heads=4)
    ready = ranks.prepare(case)
    assert ready.facts.relative_error < 1e-12
    torch.testing.assert_close(ready.call(), ready.call(), rtol=0, atol=0)
    # Of a block, norms and the biases of the last products are everywhere; the rest is cut.
    whole = build_model(case, torch.device("cpu")).trunk.named_parameters()
    everywhere = ("norm_attention", "norm_mlp", "project.bias", "contract.bias")
    cut = sum(
        p.numel() * p.element_size()
        for name, p in whole
        if not any(words in name for words in everywhere)
    )
    left = ready.facts.parameter_bytes - cut + cut // devices
    noted = ready.facts.telemetry["ranks"]
    assert noted["parameter_bytes"] == [left] * devices
    assert noted["communication_seconds"] > 0


def test_tensor_parallelism_needs_a_head_for_every_device(ranks: Ranks, spread: MakeCase) -> None:
    case = spread(4, 3, model="serial", execution="tensor_parallel", heads=2)
    with pytest.raises(Unsupported, match="divisible by 4 devices"):
        ranks.prepare(case)
    assert not ranks.team.broken


def test_cases_side_by_side_and_one_that_was_let_go(ranks: Ranks, spread: MakeCase) -> None:
    pool = Pool(ranks.builder)
    cases = [spread(2, 2), spread(4, 3, dtype="float32"), spread(1, 3), spread(2, 3)]
    outputs = {case: pool.prepare(case, 0.01).call() for case in cases}
    for case in (*reversed(cases), *cases):
        assert torch.equal(pool.get(case).call(), outputs[case])
    pool.drop_all()
    for case in cases:
        assert torch.equal(pool.get(case).call(), outputs[case])
    pool.drop_all()


def test_a_wrong_sum_is_a_mismatch_and_the_team_goes_on(ranks: Ranks, spread: MakeCase) -> None:
    """Rank 1 adds 1.1 of its share."""
    with pytest.raises(Mismatch, match="relative error"):
        ranks.prepare(spread(2, 2, execution="odd_rank", dtype="float32"))
    assert not ranks.team.broken
    ranks.prepare(spread(2, 2))


def test_workspaces_are_made_before_a_follower_s_memory_is_looked_at(
    ranks: Ranks, spread: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    monkeypatch.setattr(follower, "make_workspaces", lambda case, where: log.append("made"))
    monkeypatch.setattr(ranks.device.memory, "mark", lambda: log.append("marked"))
    follower.build_part(spread(1, 2), ranks.device, 0, ALONE)
    assert log == ["made", "marked"]


def test_what_a_follower_cannot_build_is_told_by_its_kind(ranks: Ranks, spread: MakeCase) -> None:
    with pytest.raises(Unsupported, match="rank 1: not in my turn"):
        ranks.prepare(spread(2, 2, execution="odd_rank"))
    with pytest.raises(MemoryError, match=r"rank 2: .*can't allocate memory"):
        ranks.prepare(spread(4, 2, execution="odd_rank", dtype="float32"))
    with pytest.raises(ValueError, match="dropped"):
        _fail_in_rank_0(ranks, spread(4, 2))
    assert not ranks.team.broken
    assert ranks.builder.rebuild(spread(4, 2)).call() is not None


def _fail_in_rank_0(ranks: Ranks, case: Case) -> None:
    ranks.team.begin(case, 0)  # the followers' answers are still under way
    ranks.team.drop([case])
    raise ValueError("dropped")


def test_flops_are_those_of_the_whole_net(ranks: Ranks, spread: MakeCase) -> None:
    whole = ranks.prepare(spread(1, 3, execution="loop")).facts
    ready = ranks.prepare(spread(2, 3))
    assert ready.facts.flops == whole.flops > 0
    assert ready.facts.operations is None
    assert "spread" in ready.null_reasons["operations"]
    assert "spread" in ready.null_reasons["work"]


def test_every_rank_gets_its_share_of_the_cores(spread: MakeCase, make_case: MakeCase) -> None:
    torch.set_num_threads(6)  # put back by the fixture one_thread
    team = team_of([], open_device("cpu").host)
    seen = []
    for case in (spread(2, 1), spread(4, 1), spread(8, 1), make_case(), spread(1, 1)):
        team.use_threads(case)
        seen.append((torch.get_num_threads(), threads_of(case, 6)))
    assert seen == [(3, 3), (1, 1), (1, 1), (6, 6), (6, 6)]


def test_followers_count_as_the_worker_and_nobody_else_can_reach_them(
    ranks: Ranks, spread: MakeCase
) -> None:
    ranks.prepare(spread(4, 1))
    ours = [p for p in psutil.Process().children() if p.cmdline()[-1] == "rank"]
    assert len(ours) == 3
    assert {p.pid for p in ours} <= {p.pid for p in ranks.host._own}  # type: ignore[attr-defined]
    ports = [
        connection.laddr.ip
        for process in (psutil.Process(), *ours)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert ports
    assert set(ports) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_nothing_is_left_behind(ranks: Ranks, spread: MakeCase) -> None:
    """Ends the followers of this file. Ports go with their processes."""
    ranks.prepare(spread(2, 1))
    me = psutil.Process()
    ours = [p for p in me.children() if p.cmdline()[-1] == "rank"]
    ranks.team.close()
    assert not any(process.is_running() for process in ours)
    assert not torch.distributed.is_initialized()
    assert not [t for t in threading.enumerate() if t.name.startswith("rank ")]
    ranks.team.close()  # twice does no harm


def test_who_spreads_nothing_starts_nothing(tmp_path: Path) -> None:
    """PyTorch imports parts of `torch.distributed` by itself: nobody adds to them."""
    code = """
import sys
import torch
before = {name for name in sys.modules if name.startswith("torch.distributed")}
from paraformer_bench.workers import block as worker
from tests.fakes import tiny_case
from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.device import open_device
device = open_device("cpu")
for execution in ("loop", "stacked", "vmap"):
    case = tiny_case(model="paraformer", execution=execution, depth=2)
    with torch.inference_mode():
        Builder(device, 0).prepare(case, 0.01, {})
after = {name for name in sys.modules if name.startswith("torch.distributed")}
print(sorted(after - before), torch.distributed.is_initialized())
print("paraformer_bench.ranks.process_group" in sys.modules)
print("paraformer_bench.executions.sharded" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child.environment() | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines() == ["[] False", "False", "False"]
    assert os.listdir(tmp_path) == []


def test_only_executions_that_say_so_have_ranks(spread: MakeCase) -> None:
    assert needs_ranks(spread(2, 1))
    assert not needs_ranks(spread(1, 1))
    assert not needs_ranks(spread(2, 1, execution="parallel_apply"))
