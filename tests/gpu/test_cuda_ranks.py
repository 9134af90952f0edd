"""One net on several GPUs: a rank for each, over NCCL, and a thread for each branch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import torch

from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.meters import HostLoad
from paraformer_bench.ranks.team import SpreadBuilder, Team
from paraformer_bench.study.case import Case
from paraformer_bench.study.job import BlockJob, Protocol
from tests.fakes import tiny_case

pytestmark = pytest.mark.gpu
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")

MakeCase = Callable[..., Case]


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    shape = {"model": "paraformer", "execution": "sharded", "device": "cuda:0"}
    with closing(team_of([tiny_case(devices=2, **shape)])) as team:
        yield team


def team_of(cases: list[Case]) -> Team:
    job = BlockJob(device="cuda:0", block=0, protocol=Protocol(), seed=0, groups=[cases])
    return Team(job, HostLoad(needed=1), lambda status, reason: None)


@needs_two
@pytest.mark.parametrize("depth", [1, 2, 3, 8])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_sharded_equals_the_loop(
    gpu: Device, team: Team, make_case: MakeCase, depth: int, dtype: str
) -> None:
    case = make_case(
        model="paraformer", execution="sharded", depth=depth, dtype=dtype, devices=2, batch=2
    )
    ready = SpreadBuilder(gpu, 0, team).prepare(case, 0.1, {})
    if dtype == "float64":
        assert ready.facts.relative_error < 1e-12
    noted = ready.facts.telemetry["ranks"]
    assert all(size > 0 for size in noted["peak_bytes"])
    assert noted["communication_seconds"] > 0
    timed = gpu.clock.device(ready.call)
    assert timed is not None
    assert timed.seconds > 0


@needs_two
@pytest.mark.parametrize("execution", ["tensor_parallel", "pipelined"])
def test_a_serial_net_equals_the_loop(
    gpu: Device, team: Team, make_case: MakeCase, execution: str
) -> None:
    shape = {"dtype": "float64", "devices": 2, "heads": 4, "width": 256, "batch": 2}
    case = make_case(execution=execution, depth=3, **shape)
    ready = SpreadBuilder(gpu, 0, team).prepare(case, 0.1, {})
    assert ready.facts.relative_error < 1e-12


@pytest.mark.parametrize("depth", [1, 3, 8])
@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=needs_two)])
def test_a_thread_for_every_branch_equals_the_loop(
    gpu: Device, make_case: MakeCase, depth: int, devices: int
) -> None:
    shape = {"dtype": "float64", "devices": devices}
    case = make_case(model="paraformer", execution="parallel_apply", depth=depth, **shape)
    ready = SpreadBuilder(gpu, 0, team_of([])).prepare(case, 0.1, {})
    assert ready.facts.relative_error < 1e-12
    assert ready.facts.flops > 0
