"""`streams` on a real GPU: the same numbers, however the launches fall, in constant memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from paraformer_bench.instrument.bench import build_model, make_input
from paraformer_bench.instrument.device import Device
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]
Run = Callable[[Tensor], Tensor]
BRANCHED = [name for name in MODELS.names() if MODELS.get(name).traits.branched]
TENS_OF_MILLISECONDS = 50_000_000
"""GPU cycles for which all that follows piles up in the queues."""


def prepared(case: Case, device: torch.device) -> tuple[Run, Run, Tensor]:
    """The plain loop, `streams`, and the example `streams` was prepared with."""
    example = make_input(case, device, 0)
    run = EXECUTIONS.get("streams").factory(build_model(case, device), example)
    return build_model(case, device), run, example


def error(output: Tensor, expected: Tensor) -> float:
    return float((output - expected).norm() / expected.norm())


@pytest.mark.parametrize("runtime", ["eager", "graph"])
@pytest.mark.parametrize("model", BRANCHED)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_streams_equal_the_loop(
    gpu: Device, make_case: MakeCase, model: str, runtime: str, batch: int, branch_depth: int
) -> None:
    case = make_case(
        model=model, dtype="float64", image=64, batch=batch, branch_depth=branch_depth
    )
    loop, run, example = prepared(case, gpu.torch_device)
    call = RUNTIMES.get(runtime).factory(run, example)
    for seed in (1, 2):
        x = make_input(case, gpu.torch_device, seed)
        kept, expected = x.clone(), loop(x)
        assert error(call(x), expected) < 1e-12
        assert torch.equal(x, kept)


@pytest.mark.parametrize("runtime", ["eager", "graph"])
@pytest.mark.parametrize("depth", [2, 32, 40])
def test_more_branches_than_streams_are_summed_too(
    gpu: Device, make_case: MakeCase, runtime: str, depth: int
) -> None:
    for model in ("paraformer", "picard"):
        case = make_case(model=model, depth=depth, dtype="float64", image=64)
        loop, run, example = prepared(case, gpu.torch_device)
        call = RUNTIMES.get(runtime).factory(run, example)
        x = make_input(case, gpu.torch_device, 1)
        assert error(call(x), loop(x)) < 1e-12


@pytest.mark.parametrize("runtime", ["eager", "graph"])
@pytest.mark.parametrize(
    ("model", "depth", "branch_depth"),
    [("paraformer", 40, 1), ("paraformer", 8, 4), ("parallel_vit", 8, 2), ("picard", 8, 2)],
)
def test_calls_in_a_row_do_not_disturb_each_other(
    gpu: Device, make_case: MakeCase, runtime: str, model: str, depth: int, branch_depth: int
) -> None:
    """Inputs are let go, and their memory is overwritten, while the calls still wait to run."""
    case = make_case(
        model=model, depth=depth, dtype="float64", image=64, batch=4, branch_depth=branch_depth
    )
    loop, run, example = prepared(case, gpu.torch_device)
    call = RUNTIMES.get(runtime).factory(run, example)
    inputs = [make_input(case, gpu.torch_device, seed) for seed in range(1, 41)]
    expected = [loop(x) for x in inputs]
    call(example)
    torch.cuda.synchronize()
    torch.cuda._sleep(TENS_OF_MILLISECONDS)
    outputs = []
    for x in inputs:
        own = x.clone()
        output = call(own)
        del own
        torch.full_like(x, float("nan"))  # lands where the input was
        outputs.append(output.clone() if runtime == "graph" else output)
    errors = [error(o, e) for o, e in zip(outputs, expected, strict=True)]
    assert max(errors) < 1e-12, errors


@pytest.mark.parametrize("model", BRANCHED)
def test_memory_does_not_grow_call_by_call(gpu: Device, make_case: MakeCase, model: str) -> None:
    case = make_case(model=model, depth=40, image=64, batch=4)
    _, run, example = prepared(case, gpu.torch_device)

    def after(calls: int) -> tuple[int, int, int]:
        torch.cuda.reset_peak_memory_stats(gpu.torch_device)
        for _ in range(calls):  # none waits for the one before
            run(example)
        return (
            torch.cuda.memory_allocated(gpu.torch_device),
            torch.cuda.max_memory_allocated(gpu.torch_device),
            torch.cuda.memory_reserved(gpu.torch_device),
        )

    after(3)
    few, many = after(3), after(60)
    assert many == few
