from __future__ import annotations

import copy
from collections.abc import Callable
from threading import Thread

import pytest
import torch
from torch import nn

from paraformer_bench.executions import parallel_apply, pipelined, tensor_parallel
from paraformer_bench.executions._ranks import Ranks
from paraformer_bench.executions.sharded import prepare
from paraformer_bench.models._branches import SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS


class Recorder(Ranks):
    """One rank of several, alone in its process: its parts are kept for the test to sum."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self.parts: list[torch.Tensor] = []

    def sum(self, part: torch.Tensor) -> torch.Tensor:
        self.parts.append(part.clone())
        return part


def trunk(model: str = "paraformer", depth: int = 5) -> nn.Module:
    spec = ModelSpec(depth=depth, width=32, heads=2, image=24, patch=8, classes=7)
    torch.manual_seed(5)
    net = MODELS.get(model).factory(spec).double().eval().requires_grad_(False)
    return net.get_submodule("trunk")


def test_one_rank_is_the_loop(assert_equals_loop: Callable[..., None]) -> None:
    assert_equals_loop("paraformer", 3, 1e-12, execution="sharded", batch=2)
    assert_equals_loop("paraformer_code", 4, 1e-12, execution="sharded", branch_depth=2)
    assert_equals_loop("parallel_vit", 4, 1e-12, execution="sharded")


@pytest.mark.parametrize(("depth", "size"), [(1, 3), (3, 3), (5, 3), (8, 3), (2, 8)])
def test_the_parts_of_all_ranks_sum_to_the_loop(depth: int, size: int) -> None:
    net = trunk(depth=depth)
    x = torch.randn(2, 10, 32, dtype=torch.float64)
    parts, held = [], 0
    for rank in range(size):
        mine = copy.deepcopy(net)
        ranks = Recorder(rank, size)
        prepare(mine, x, ranks)(x)
        [part] = ranks.parts
        parts.append(part)
        share = sum(p.numel() for p in mine.parameters())
        assert share <= -(-depth // size) * sum(p.numel() for p in net.parameters()) // depth
        held += share
        assert bool(part.abs().sum()) == (rank < depth)
    assert torch.allclose(sum(parts), net(x), rtol=1e-12, atol=1e-12)
    assert held == sum(p.numel() for p in net.parameters())


def test_branches_that_are_not_summed_are_left_alone() -> None:
    net = trunk("picard")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for execution in (prepare, parallel_apply.prepare):
        with pytest.raises(Unsupported, match="branches that are summed"):
            execution(net, torch.zeros(1, 10, 32, dtype=torch.float64))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_every_rank_declines_what_one_of_them_cannot_stack() -> None:
    odd = SumOfBranches([nn.Linear(32, 32), *trunk(depth=2).branches])
    for rank in range(3):
        with pytest.raises(Unsupported):
            prepare(odd, torch.zeros(1, 10, 32), Recorder(rank, 3))
    assert len(odd.branches) == 3


def test_threads_get_the_branches_of_their_device_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU `torch.nn.parallel` refuses to run: here its place is taken by a loop."""
    seen = []

    def apply(modules, inputs, devices):
        seen.append(devices)
        return [module(x) for module, x in zip(modules, inputs, strict=True)]

    monkeypatch.setattr(parallel_apply, "parallel_apply", apply)
    net = trunk(depth=3)
    x = torch.randn(2, 10, 32, dtype=torch.float64)
    expected = net(x)
    devices = [torch.device("cpu"), torch.device("cpu", 0)]
    assert torch.allclose(parallel_apply.prepare(net, x, devices)(x), expected, rtol=1e-12)
    assert seen == [[devices[0], devices[1], devices[0]]]


def test_products_can_be_done_beforehand_in_as_many_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All at once: a thread that ends hands its cuBLAS handle on, and with it the workspace."""
    done: list[int] = []
    ended: list[int] = []

    def apply(modules, inputs, devices):
        def run(module, arguments):
            module(*arguments)
            ended.append(len(done))

        assert devices == [0] * len(modules)
        threads = [Thread(target=run, args=each) for each in zip(modules, inputs, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    monkeypatch.setattr(parallel_apply, "parallel_apply", apply)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    warm = EXECUTIONS.get("parallel_apply").warm
    assert warm is not None
    warm(lambda: done.append(1), 5)
    assert ended == [5] * 5


def test_tensor_parallelism_needs_blocks_and_is_the_loop_on_one_device() -> None:
    net = trunk("serial", depth=2)
    assert tensor_parallel.prepare(net, torch.zeros(1, 10, 32)) is net
    assert pipelined.prepare(net, torch.zeros(1, 10, 32)) is net
    with pytest.raises(Unsupported, match="attentions or MLPs"):
        tensor_parallel.prepare(nn.Linear(4, 4), torch.zeros(1, 4), Recorder(0, 2))
    with pytest.raises(Unsupported, match="divisible by 3 devices"):
        tensor_parallel.prepare(net, torch.zeros(1, 10, 32), Recorder(0, 3))
