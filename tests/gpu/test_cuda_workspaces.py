"""cuBLAS's workspaces on a real GPU: nobody is charged for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from paraformer_bench.case import Case
from paraformer_bench.measure.bench import prepare
from paraformer_bench.measure.device import Device
from paraformer_bench.measure.memory import release

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
    first, second = (prepare(case, gpu, 0, 0.05, {}).facts["peak_bytes"] for _ in range(2))
    # A workspace has 8 MiB or more; the first graph also makes two numbers for the generator.
    assert abs(first - second) < MIB
