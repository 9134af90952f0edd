"""From a case to something that can be timed: build, prepare, check, warm up."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from paraformer_bench.executions._ranks import Ranks
from paraformer_bench.instrument import precision
from paraformer_bench.instrument.counts import count
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.gate import reference, relative_error
from paraformer_bench.instrument.gradient_gate import GradientGate
from paraformer_bench.instrument.memory import Peak
from paraformer_bench.instrument.sampler import warm_up
from paraformer_bench.instrument.training import get_ready, in_its_mode, make_step, recording
from paraformer_bench.instrument.workspaces import make_workspaces
from paraformer_bench.ranks.part import Part
from paraformer_bench.ranks.team import needs_ranks
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES, THREADS

References = dict[tuple[object, ...], Tensor]
"""Reference outputs already computed, by model and input: executions share them."""


@dataclass
class Bench:
    """A case that is ready to be timed.

    Attributes:
        call: Runs the net once on its own input, or trains it one step.
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

    The same spec gets the same weights in every block and under every execution. Dropout is off
    in training too: nothing that is random could be checked.

    Raises:
        Unsupported: The case is about the trunk and the model has none.
        TypeError: The registered builder returned no module.
    """
    torch.manual_seed(_seed(case.model, case.spec))
    with device:
        model = MODELS.get(case.model).factory(case.spec)
    if not isinstance(model, nn.Module):
        raise TypeError(f"model {case.model!r} built {type(model).__name__}, not nn.Module")
    model = model.to(device, precision.storage(case.dtype)).eval()
    model.requires_grad_(case.mode == "train")
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


@in_its_mode
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
    device.use(case)
    get_ready(case, where)
    device.team.begin(case, block)
    _load(case)
    make_workspaces(case, where)
    device.memory.mark()
    model = build_model(case, where)
    size = _size(model)
    check_input = make_input(case, where, _seed("check", block, case.batch))
    gate = _gate(case, model, check_input, references)
    example = make_input(case, where, _seed("example", block, case.batch))
    spread = _is_spread(case)
    if spread:
        counts, null_reasons = _count_apart(model, example)
    run = _run(case, model, example, *_several(case, device))
    if case.mode == "train":
        run(example)  # the optimiser makes its state at its first step and never again
    # Counted before the runtime is there: a graph's gradients must be the last ones made.
    if not spread:
        counts, null_reasons = _count(run, example)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    call, part = _lead(case, device, call, example)
    error = gate(call(check_input))
    facts = counts | {"parameter_bytes": size, "relative_error": error}
    facts["compile_seconds"] = getattr(call, "compile_seconds", None)
    if facts["compile_seconds"] is None:
        null_reasons["compile_seconds"] = f"runtime {case.runtime} compiles nothing"
    size = _size(model)
    del check_input, gate, model
    timed = _timed(case, call, example)
    times = warm_up(timed, device.clock, seconds)
    if part is None:
        peak = device.memory.peak(timed)
    else:
        peak, ranks = _of_all_ranks(case, device, part, timed, size)
        facts["telemetry"] = {"ranks": ranks}
    facts |= {
        "warmup_calls": len(times),
        "peak_bytes": peak.peak_bytes,
        "reserved_bytes": peak.reserved_bytes,
    }
    null_reasons |= peak.null_reasons
    return Bench(timed, facts, sum(times), null_reasons, lambda: getattr(call, "compilations", 0))


@in_its_mode
def rebuild(
    case: Case,
    device: Device,
    block: int,
    annotate: Callable[[nn.Module], object] | None = None,
) -> Bench:
    """Build a case again that `prepare` has accepted before, with one warm-up call.

    Args:
        case: What to build.
        device: Where.
        block: Index of the block.
        annotate: Receives the model once its execution is there and before its runtime is.
    """
    where = device.torch_device
    device.use(case)
    device.team.begin(case, block)
    example = make_input(case, where, _seed("example", block, case.batch))
    model = build_model(case, where)
    run = _run(case, model, example, *_several(case, device))
    if annotate is not None:
        annotate(model)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    call, _ = _lead(case, device, call, example)
    timed = _timed(case, call, example)
    busy = device.clock.wall(timed)
    return Bench(timed, busy=busy, compilations=lambda: getattr(call, "compilations", 0))


def build_part(case: Case, device: Device, block: int, ranks: Ranks) -> tuple[Part, int]:
    """Build what a follower runs of a case, as rank 0 does but for the gate.

    Returns:
        The part, and the bytes of its parameters.
    """
    where = device.torch_device
    device.use(case)
    _load(case)
    make_workspaces(case, where)
    device.memory.mark()
    model = build_model(case, where)
    example = make_input(case, where, _seed("example", block, case.batch))
    run = _run(case, model, example, ranks)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    return Part(ranks, call, example), _size(model)


def _run(
    case: Case, model: nn.Module, example: Tensor, *several: object
) -> Callable[[Tensor], Tensor]:
    """The net under its execution, or the step that trains it so; see `_several`."""
    execution = EXECUTIONS.get(case.execution).factory
    if case.mode == "train":
        return make_step(model, execution, example, case.scope)
    run: Callable[[Tensor], Tensor] = execution(model, example, *several)
    return run


def _several(case: Case, device: Device) -> tuple[object, ...]:
    """What an execution is given beyond model and example: of several devices ranks, or them."""
    if case.devices == 1:
        return ()
    if needs_ranks(case):
        return (device.team.ranks(case),)
    kind = device.torch_device.type
    return ([torch.device(kind, index) for index in range(case.devices)],)


def _load(case: Case) -> None:
    """Import what an execution needs on several devices, before memory is looked at."""
    if case.devices > 1:
        for module in EXECUTIONS.get(case.execution).traits.loads:
            import_module(module)


def _lead(
    case: Case, device: Device, call: Callable[[Tensor], Tensor], example: Tensor
) -> tuple[Callable[[Tensor], Tensor], Part | None]:
    """What calls a case on all its ranks, and rank 0's part; the call itself if it has none."""
    if not needs_ranks(case):
        return call, None
    part = Part(device.team.ranks(case), call, example)
    return device.team.lead(case, part), part


def _of_all_ranks(
    case: Case, device: Device, part: Part, timed: Callable[[], object], size: int
) -> tuple[Peak, dict[str, Any]]:
    """The peak of the rank that needs most, and what is noted of all ranks."""
    own: list[Peak] = []
    others = device.team.peaks(case, lambda: own.append(device.memory.peak(timed)))
    [peak] = own
    peaks = [peak.peak_bytes, *(other["peak_bytes"] for other in others)]
    reserved = [peak.reserved_bytes, *(other["reserved_bytes"] for other in others)]
    noted = {
        "peak_bytes": peaks,
        "parameter_bytes": [size, *(other["parameter_bytes"] for other in others)],
        "communication_seconds": device.team.communication_seconds(case, part, device.clock),
    }
    if device.torch_device.type == "cpu":
        noted["threads_per_rank"] = device.team.threads_of(case)
    return replace(peak, peak_bytes=_most(peaks), reserved_bytes=_most(reserved)), noted


def _most(sizes: Iterable[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return max(known, default=None)


def _size(model: nn.Module) -> int:
    """Bytes of the parameters in this process; PyTorch gives those cut across ranks as wholes."""
    own = (p.to_local() if hasattr(p, "to_local") else p for p in model.parameters())
    return sum(p.numel() * p.element_size() for p in own)


def _is_spread(case: Case) -> bool:
    """Whether operations are dispatched in other processes or threads, where none are counted."""
    return case.devices > 1 or EXECUTIONS.get(case.execution).traits.spread == THREADS


def _timed(case: Case, call: Callable[[Tensor], object], x: Tensor) -> Callable[[], object]:
    def infer() -> object:
        return call(x)

    def train() -> object:
        with recording():  # samples are taken under the worker's inference mode
            return call(x)

    return train if case.mode == "train" else infer


def _gate(
    case: Case, model: nn.Module, x: Tensor, references: References
) -> Callable[[object], float]:
    """What judges the result of a call on ``x``; to be made before an execution comes."""
    if case.mode == "train":
        return GradientGate(model, x, case.scope, case.dtype).relative_error
    key = (case.model, case.spec, case.batch, case.dtype, case.scope)
    if key not in references:
        references[key] = reference(model, x)
    expected = references[key]
    return lambda output: relative_error(output, expected, x, case.dtype)


def _count(run: Callable[[Tensor], object], x: Tensor) -> tuple[dict[str, Any], dict[str, str]]:
    """Counts as record fields, or why there are none: what can run can be timed."""
    try:
        return asdict(count(run, x)), {}
    except Exception as error:
        reason = f"the call cannot be counted: {type(error).__name__}"
        return {}, dict.fromkeys(("operations", "flops", "work"), reason)


def _count_apart(model: nn.Module, x: Tensor) -> tuple[dict[str, Any], dict[str, str]]:
    """The FLOPs of the plain loop, which are those of every execution, and nothing else."""
    reason = "operations are not counted where a net is spread over processes or threads"
    counts, null_reasons = _count(model, x)
    null_reasons |= dict.fromkeys(("operations", "work"), reason)
    return {key: counts[key] for key in counts.keys() & {"flops"}}, null_reasons


def _seed(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())
