"""From a case to something ready to be timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.instrument.bench import Builder, build_model, make_input
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.gate import Mismatch
from paraformer_bench.study.case import Case
from paraformer_bench.study.cost import (
    block_flops,
    block_parameters,
    fixed_flops,
    fixed_parameters,
)
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS, Registry

MakeCase = Callable[..., Case]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """As the worker runs."""
    with torch.inference_mode():
        yield


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Register something for one test."""
    added: list[tuple[Registry[Any], str]] = []

    def register(registry: Registry[Any], name: str, factory: Any) -> None:
        registry.register(name)(factory)
        added.append((registry, name))

    yield register
    for registry, name in added:
        del registry._registered[name]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_models_come_in_the_precision_of_the_case(make_case: MakeCase, dtype: str) -> None:
    model = build_model(make_case(dtype=dtype), CPU)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


def test_a_case_has_the_same_weights_under_every_execution_and_runtime(
    make_case: MakeCase,
) -> None:
    torch.manual_seed(99)  # whatever the generator did before
    loop = build_model(make_case(model="paraformer"), CPU)
    stacked = build_model(make_case(model="paraformer", execution="stacked"), CPU)
    for left, right in zip(loop.parameters(), stacked.parameters(), strict=True):
        assert torch.equal(left, right)


def test_inputs_are_images_or_embedded_tokens(make_case: MakeCase) -> None:
    whole, trunk = make_case(batch=3), make_case(batch=3, scope="trunk", dtype="bfloat16")
    assert make_input(whole, CPU, 1).shape == (3, 3, 16, 16)
    assert make_input(trunk, CPU, 1).shape == (3, 5, 16)
    assert make_input(trunk, CPU, 1).dtype == torch.bfloat16
    assert torch.equal(make_input(whole, CPU, 1), make_input(whole, CPU, 1))
    assert not torch.equal(make_input(whole, CPU, 1), make_input(whole, CPU, 2))
    # Nothing is drawn from the global generator.
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    make_input(whole, CPU, 1)
    assert torch.equal(torch.randn(2), expected)


def test_the_facts_of_a_prepared_case(make_case: MakeCase, device: Device) -> None:
    case = make_case(model="paraformer", execution="stacked", depth=4)
    bench = Builder(device, 0).prepare(case, 1.0, {})
    assert bench.facts.parameter_bytes == 4 * (
        4 * block_parameters(case.spec) + fixed_parameters(case.spec)
    )
    assert bench.facts.flops == 4 * block_flops(case.spec, 1) + fixed_flops(case.spec, 1)
    assert bench.facts.operations > 10
    assert 0 < bench.facts.relative_error < 1e-5
    assert bench.facts.peak_bytes == 1000
    # Ten calls of 1 ms each on the fake clock settle it.
    assert bench.facts.warmup_calls == 10
    assert bench.busy == pytest.approx(0.01)
    assert bench.null_reasons == {
        "reserved_bytes": "a test",
        "compile_seconds": "runtime eager compiles nothing",
    }
    output = bench.call()
    assert isinstance(output, Tensor)
    assert output.shape == (1, 1000)


def test_the_trunk_can_be_prepared_by_itself(make_case: MakeCase, device: Device) -> None:
    case = make_case(model="paraformer", execution="stacked", depth=4, scope="trunk", batch=2)
    bench = Builder(device, 0).prepare(case, 1.0, {})
    assert bench.facts.flops == 4 * block_flops(case.spec, batch=2)
    output = bench.call()
    assert isinstance(output, Tensor)
    assert output.shape == (2, 5, 16)


def test_rebuilding_gives_the_same_net_and_input(make_case: MakeCase, device: Device) -> None:
    case = make_case(model="paraformer", execution="stacked", depth=4)
    first, again = (
        Builder(device, 3).prepare(case, 1.0, {}).call(),
        Builder(device, 3).rebuild(case).call(),
    )
    assert isinstance(first, Tensor)
    assert isinstance(again, Tensor)
    assert torch.equal(first, again)


def test_executions_of_one_model_share_the_reference(
    make_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    calls: list[torch.dtype] = []

    class Watched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            calls.append(images.dtype)
            return images.mean((2, 3))

    register(MODELS, "watched", lambda spec: Watched())
    references: dict[Any, Any] = {}
    register(EXECUTIONS, "again", lambda model, example: model)
    for execution in ("loop", "again"):
        case = make_case(model="watched", execution=execution)
        Builder(device, 0).prepare(case, 1.0, references)
    assert calls.count(torch.float64) == 1
    assert len(references) == 1


def test_a_wrong_execution_is_never_timed(
    make_case: MakeCase, device: Any, clock: Any, register: Callable[..., None]
) -> None:
    register(EXECUTIONS, "wrong", lambda model, example: lambda x: 1.01 * model(x))
    with pytest.raises(Mismatch, match=r"relative error 0\.01"):
        Builder(device, 0).prepare(make_case(execution="wrong"), 1.0, {})
    assert clock.calls == 0


def test_an_execution_may_rewrite_the_model_after_the_reference_was_taken(
    make_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    def ruin(model: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
        for parameter in model.parameters():
            parameter.zero_()
        return model

    register(EXECUTIONS, "ruin", ruin)
    with pytest.raises(Mismatch):
        Builder(device, 0).prepare(make_case(execution="ruin"), 1.0, {})


def test_every_block_is_checked_on_other_inputs(
    make_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    seen: list[Tensor] = []

    def spy(model: nn.Module, example: Tensor) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            seen.append(x.clone())
            return model(x)  # type: ignore[no-any-return]

        return call

    register(EXECUTIONS, "spy", spy)
    for block in (0, 1):
        Builder(device, block).prepare(make_case(execution="spy"), 1.0, {})
    different: list[Tensor] = []
    for x in seen:
        if not any(torch.equal(x, other) for other in different):
            different.append(x)
    assert len(different) == 4  # a check and a timed input in each block


def test_what_cannot_be_counted_can_be_timed(
    make_case: MakeCase, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise NotImplementedError("an operation of its own")

    monkeypatch.setattr("paraformer_bench.instrument.bench.count", refuse)
    bench = Builder(device, 0).prepare(make_case(), 1.0, {})
    assert bench.facts.flops is None
    assert bench.null_reasons["flops"] == "the call cannot be counted: NotImplementedError"
    assert bench.null_reasons["operations"] == bench.null_reasons["flops"]


def test_a_builder_must_return_a_module(
    make_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    register(MODELS, "no_net", lambda spec: "a string")
    with pytest.raises(TypeError, match="'no_net' built str"):
        Builder(device, 0).prepare(make_case(model="no_net"), 1.0, {})


def test_a_model_without_a_trunk_has_none_to_time(
    make_case: MakeCase, device: Device, register: Callable[..., None]
) -> None:
    register(MODELS, "flat", lambda spec: nn.Flatten())
    with pytest.raises(Unsupported, match="'flat' has no trunk"):
        Builder(device, 0).prepare(make_case(model="flat", scope="trunk"), 1.0, {})


def test_the_gate_can_be_passed_at_every_depth_of_the_suites(
    make_case: MakeCase, device: Device
) -> None:
    for dtype, error in (("float32", 1e-5), ("bfloat16", 0.03), ("float16", 5e-3)):
        for model, execution in (("serial", "loop"), ("paraformer", "stacked")):
            case = make_case(model=model, execution=execution, depth=64, width=64, dtype=dtype)
            found = Builder(device, 0).prepare(case, 0.0, {}).facts.relative_error
            assert math.isfinite(found)
            assert found < error
