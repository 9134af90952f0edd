"""`stacked` and `vmap` on a real GPU: the same numbers, few operations, and weights held once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from paraformer_bench.instrument.bench import build_model, make_input
from paraformer_bench.instrument.counts import count
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.memory import release
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]
MIB = 2**20
CONSTANT = ["paraformer", "paraformer_code", "parallel_vit", "picard"]
"""The models whose span does not grow and whose branches are of one kind."""


@pytest.mark.parametrize("execution", ["stacked", "vmap"])
@pytest.mark.parametrize("model", [*CONSTANT, "layer_pairs"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_they_equal_the_loop(
    gpu: Device, make_case: MakeCase, model: str, execution: str, batch: int, branch_depth: int
) -> None:
    case = make_case(
        model=model, dtype="float64", image=64, batch=batch, branch_depth=branch_depth
    )
    example = make_input(case, gpu.torch_device, 0)
    loop = build_model(case, gpu.torch_device)
    run = EXECUTIONS.get(execution).factory(build_model(case, gpu.torch_device), example)
    for seed in (1, 2):
        x = make_input(case, gpu.torch_device, seed)
        kept, expected = x.clone(), loop(x)
        assert (run(x) - expected).norm() / expected.norm() < 1e-12
        assert torch.equal(x, kept)


@pytest.mark.parametrize("execution", ["stacked", "vmap"])
@pytest.mark.parametrize("model", CONSTANT)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_operations_do_not_grow_with_depth(
    gpu: Device, make_case: MakeCase, model: str, execution: str, dtype: str, branch_depth: int
) -> None:
    """CUDA's fused attentions have batching rules, so `vmap` calls them once for all branches."""
    operations = []
    for depth in (2 * branch_depth, 64):
        case = make_case(
            model=model,
            depth=depth,
            dtype=dtype,
            image=64,
            branch_depth=branch_depth,
            scope="trunk",
        )
        x = make_input(case, gpu.torch_device, 0)
        run = EXECUTIONS.get(execution).factory(build_model(case, gpu.torch_device), x)
        operations.append(count(run, x).operations)
    assert operations[0] == operations[1], f"from depth {2 * branch_depth} to 64: {operations}"


@pytest.mark.parametrize("execution", ["loop", "stacked", "vmap", "streams"])
def test_preparing_needs_no_more_than_one_stacked_tensor(
    gpu: Device, make_case: MakeCase, execution: str
) -> None:
    case = make_case(
        model="paraformer", depth=12, width=512, heads=8, image=16, branch_depth=2, scope="trunk"
    )
    device = gpu.torch_device
    model, example = build_model(case, device), make_input(case, device, 0)
    sizes = [p.numel() * p.element_size() for p in model.parameters()]
    bound = max(sizes) * case.spec.branches + MIB if execution in ("stacked", "vmap") else MIB
    assert bound < sum(sizes) / 4
    release(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run = EXECUTIONS.get(execution).factory(model, example)
    torch.cuda.synchronize(device)
    assert torch.cuda.max_memory_allocated(device) - before <= bound
    # Nothing is held beyond the weights: not even one branch's.
    assert torch.cuda.memory_allocated(device) - before <= MIB
    assert run(example).isfinite().all()
