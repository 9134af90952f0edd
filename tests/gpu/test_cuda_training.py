"""Training on a GPU: every runtime and execution gets the loop's gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.instrument import training
from paraformer_bench.instrument.bench import Builder, build_model, make_input
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.training import TrainingStep, make_step, recording
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS, RUNTIMES

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]

METHODS = [
    ("serial", "loop"),
    ("paraformer", "loop"),
    ("paraformer", "stacked"),
    ("paraformer", "vmap"),
    ("paraformer", "streams"),
    ("paraformer_code", "stacked"),
    ("parallel_vit", "stacked"),
]


def step_of(case: Case, device: torch.device) -> tuple[TrainingStep, nn.Module, Tensor]:
    model, x = build_model(case, device), make_input(case, device, 0)
    execution = EXECUTIONS.get(case.execution).factory
    return make_step(model, execution, x, case.scope), model, x


@pytest.mark.parametrize(("model", "execution"), METHODS)
@pytest.mark.parametrize("runtime", ["eager", "graph"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gate_accepts_it(
    gpu: Device, make_case: MakeCase, model: str, execution: str, runtime: str, dtype: str
) -> None:
    case = make_case(
        model=model, execution=execution, runtime=runtime, dtype=dtype, batch=2, mode="train"
    )
    facts = Builder(gpu, 0).prepare(case, 0.1, {}).facts
    assert facts.relative_error < (1e-4 if dtype == "float32" else 0.1)
    assert facts.flops > 0
    assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("execution", ["loop", "stacked"])
def test_a_replay_is_a_whole_step(
    gpu: Device, make_case: MakeCase, monkeypatch: pytest.MonkeyPatch, execution: str
) -> None:
    """Captured after three warm-up steps, four replays leave the weights of seven steps."""
    monkeypatch.setattr(training, "LEARNING_RATE", 1e-3)
    small = {"model": "paraformer", "depth": 2, "image": 32, "mode": "train"}
    case = make_case(execution=execution, dtype="float64", **small)
    with recording():
        eager, expected, x = step_of(case, gpu.torch_device)
        captured, found, example = step_of(case, gpu.torch_device)
        before = [parameter.detach().clone() for parameter in expected.parameters()]
        replay = RUNTIMES.get("graph").factory(captured, example)
        losses = [float(eager(x)) for _ in range(7)]
        replayed = [float(replay(example)) for _ in range(4)]
        assert replayed == pytest.approx(losses[3:], rel=1e-6)
        for old, one, two in zip(before, expected.parameters(), found.parameters(), strict=True):
            moved = (one.detach() - old).abs().mean()
            assert moved > 1e-4
            assert (one - two).detach().abs().mean() < 1e-3 * moved


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("runtime", ["eager", "graph"])
def test_no_step_moves_a_weight(
    gpu: Device, make_case: MakeCase, dtype: str, runtime: str
) -> None:
    small = {"model": "paraformer", "depth": 2, "image": 32, "mode": "train"}
    case = make_case(execution="stacked", dtype=dtype, **small)
    with recording():
        step, model, x = step_of(case, gpu.torch_device)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        call = RUNTIMES.get(runtime).factory(step, x)
        for _ in range(4):
            assert torch.isfinite(call(x))
        for old, parameter in zip(before, model.parameters(), strict=True):
            assert torch.allclose(old, parameter, rtol=0, atol=1e-15)


@pytest.mark.parametrize("runtime", ["eager", "graph"])
def test_a_peak_covers_gradients_and_the_state_of_the_optimiser(
    gpu: Device, make_case: MakeCase, runtime: str
) -> None:
    case = make_case(
        model="paraformer",
        execution="stacked",
        runtime=runtime,
        width=768,
        heads=12,
        image=32,
        mode="train",
    )
    facts = Builder(gpu, 0).prepare(case, 0.05, {}).facts
    # Weights, gradients and two moments, each once; AdamW's own temporaries are as large again.
    assert 4 * facts.parameter_bytes <= facts.peak_bytes <= 7 * facts.parameter_bytes


@pytest.mark.parametrize("runtime", ["eager", "graph"])
@pytest.mark.parametrize("modes", [("train", "inference", "train"), ("inference", "train")])
def test_modes_can_be_mixed_in_one_worker(
    gpu: Device, make_case: MakeCase, runtime: str, modes: tuple[str, ...]
) -> None:
    fields = {"model": "paraformer", "execution": "stacked", "runtime": runtime}
    benches = [Builder(gpu, 0).prepare(make_case(mode=mode, **fields), 0.05, {}) for mode in modes]
    for _ in range(2):
        for bench in benches:
            assert gpu.clock.wall(bench.call) > 0
            sample = gpu.clock.device(bench.call)
            assert sample is not None
            assert sample.seconds > 0
    assert Builder(gpu, 0).rebuild(make_case(mode="train", **fields)).busy > 0
