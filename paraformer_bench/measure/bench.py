"""From a case to something that can be timed: build, prepare, check, warm up."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from paraformer_bench.case import Case
from paraformer_bench.errors import Unsupported
from paraformer_bench.measure import precision
from paraformer_bench.measure.counts import count
from paraformer_bench.measure.device import Device
from paraformer_bench.measure.gate import reference, relative_error
from paraformer_bench.measure.sampler import warm_up
from paraformer_bench.registry import EXECUTIONS, MODELS, RUNTIMES

References = dict[tuple[object, ...], Tensor]
"""Reference outputs already computed, by model and input: executions share them."""


@dataclass
class Bench:
    """A case that is ready to be timed.

    Attributes:
        call: Runs the net once on its own input.
        facts: Record fields known before timing.
        busy: Seconds spent in warm-up calls.
        null_reasons: Why some facts are null.
        compilations: Says how often the runtime has compiled the case so far.
    """

    call: Callable[[], object]
    facts: dict[str, Any] = field(default_factory=dict)
    busy: float = 0.0
    null_reasons: dict[str, str] = field(default_factory=dict)
    compilations: Callable[[], int] = lambda: 0


def build_model(case: Case, device: torch.device) -> nn.Module:
    """Build the case's net, or its trunk, on the device in the case's precision.

    The same spec gets the same weights in every block and under every execution.

    Raises:
        Unsupported: The case is about the trunk and the model has none.
        TypeError: The registered builder returned no module.
    """
    torch.manual_seed(_seed(case.model, case.spec))
    with device:
        model = MODELS.get(case.model).factory(case.spec)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model {case.model!r} built {type(model).__name__}, not nn.Module")
    model = model.to(device, precision.storage(case.dtype)).eval().requires_grad_(False)
    if case.scope == "trunk":
        trunk = getattr(model, "trunk", None)
        if not isinstance(trunk, nn.Module):
            raise Unsupported(f"model {case.model!r} has no trunk to time by itself")
        return trunk
    return model


def make_input(case: Case, device: torch.device, seed: int) -> Tensor:
    """Draw a batch of images, or of embedded tokens for a trunk, from N(0, 1)."""
    spec = case.spec
    shape: tuple[int, ...] = (case.batch, spec.channels, spec.image, spec.image)
    if case.scope == "trunk":
        shape = (case.batch, spec.tokens, spec.width)
    generator = torch.Generator(device).manual_seed(seed)
    dtype = precision.storage(case.dtype)
    return torch.randn(shape, device=device, dtype=dtype, generator=generator)


def prepare(
    case: Case, device: Device, block: int, seconds: float, references: References
) -> Bench:
    """Build a case, check that it computes the right thing, measure its memory, warm it up.

    Args:
        case: What to prepare.
        device: Where.
        block: Index of the block; every block checks against other random inputs.
        seconds: Time for the warm-up.
        references: Filled and used, so that executions of one model share the reference.

    Raises:
        Mismatch: It computes something else than the model's plain loop.
        Unsupported: It cannot run here.
    """
    where = device.torch_device
    precision.check(case.dtype, where)
    precision.use(case.dtype)
    device.memory.mark()
    model = build_model(case, where)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    check_input = make_input(case, where, _seed("check", block, case.batch))
    key = (case.model, case.spec, case.batch, case.dtype, case.scope)
    if key not in references:
        references[key] = reference(model, check_input)
    example = make_input(case, where, _seed("example", block, case.batch))
    run = EXECUTIONS.get(case.execution).factory(model, example)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    error = relative_error(call(check_input), references[key], check_input, case.dtype)
    counts, null_reasons = _count(run, example)
    facts = counts | {"parameter_bytes": size, "relative_error": error}
    facts["compile_seconds"] = getattr(call, "compile_seconds", None)
    if facts["compile_seconds"] is None:
        null_reasons["compile_seconds"] = f"runtime {case.runtime} compiles nothing"
    del check_input, model

    def timed() -> object:
        return call(example)

    times = warm_up(timed, device.clock, seconds)
    peak = device.memory.peak(timed)
    facts |= {
        "warmup_calls": len(times),
        "peak_bytes": peak.peak_bytes,
        "reserved_bytes": peak.reserved_bytes,
    }
    null_reasons |= peak.null_reasons
    return Bench(timed, facts, sum(times), null_reasons, lambda: getattr(call, "compilations", 0))


def rebuild(case: Case, device: Device, block: int) -> Bench:
    """Build a case again that `prepare` has accepted before, with one warm-up call."""
    where = device.torch_device
    precision.use(case.dtype)
    example = make_input(case, where, _seed("example", block, case.batch))
    run = EXECUTIONS.get(case.execution).factory(build_model(case, where), example)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    return Bench(
        lambda: call(example),
        busy=device.clock.wall(lambda: call(example)),
        compilations=lambda: getattr(call, "compilations", 0),
    )


def _count(run: Callable[[Tensor], object], x: Tensor) -> tuple[dict[str, Any], dict[str, str]]:
    """Counts as record fields, or why there are none: what can run can be timed."""
    try:
        return asdict(count(run, x)), {}
    except Exception as error:
        reason = f"the call cannot be counted: {type(error).__name__}"
        return {}, {"operations": reason, "flops": reason}


def _seed(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())
