"""cuBLAS's workspaces on a real GPU: nobody is charged for them, and no graph outlives its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.memory import release
from paraformer_bench.instrument.visit import Pool
from paraformer_bench.study.case import Case

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]
MIB = 2**20


@pytest.mark.parametrize("mode", ["inference", "train"])
@pytest.mark.parametrize(
    ("execution", "runtime"),
    [("loop", "eager"), ("loop", "graph"), ("streams", "eager"), ("streams", "graph")],
)
def test_the_case_that_comes_first_needs_no_more_than_the_next_one(
    gpu: Device, make_case: MakeCase, execution: str, runtime: str, mode: str
) -> None:
    fields = {"execution": execution, "runtime": runtime, "mode": mode}
    case = make_case(model="paraformer", depth=4, **fields)
    release(gpu.torch_device)  # no graph is left that would use what is now let go
    torch._C._cuda_clearCublasWorkspaces()
    first, second = (Builder(gpu, 0).prepare(case, 0.05, {}).facts.peak_bytes for _ in range(2))
    # A workspace has 8 MiB or more; the first graph also makes two numbers for the generator.
    assert abs(first - second) < MIB


@pytest.mark.parametrize("execution", ["loop", "stacked", "streams"])
def test_a_graph_replays_right_after_another_one_was_let_go(
    gpu: Device, make_case: MakeCase, execution: str
) -> None:
    fields = {"model": "paraformer", "execution": execution, "runtime": "graph"}
    lost, kept = (make_case(depth=depth, **fields) for depth in (4, 8))
    pool = Pool(Builder(gpu, block=0))
    for case in (lost, kept):
        pool.prepare(case, 0.05)
    expected = output(pool, kept)
    pool.drop(lost)
    torch.full((1024 * MIB,), 255, dtype=torch.uint8, device=gpu.torch_device)  # NaN in any float
    for _ in range(2):
        assert torch.allclose(output(pool, kept), expected, rtol=1e-5, atol=1e-6)


def output(pool: Pool, case: Case) -> Tensor:
    """What a call returns now; a graph overwrites its own at every replay."""
    out = pool.get(case).call()
    assert isinstance(out, Tensor)
    return out.clone()
