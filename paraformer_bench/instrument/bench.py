"""From a case to something that can be timed: build, prepare, check, warm up."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.instrument import precision
from paraformer_bench.instrument.counts import count
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.gate import References, make_gate
from paraformer_bench.instrument.memory import make_workspaces, release
from paraformer_bench.instrument.sampler import warm_up
from paraformer_bench.instrument.training import get_ready, in_its_mode, make_step, recording
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.record import Facts
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES, THREADS

Execute = Callable[[Case, nn.Module, Tensor], Forward]
"""Puts a net under its execution: from case, model and example to what runs the net."""


@dataclass
class Bench:
    """A case that is ready to be timed.

    Attributes:
        call: Runs the net once on its own input, or trains it one step.
        facts: What is known of it before timing.
        busy: Seconds spent in warm-up calls.
        null_reasons: Why some facts are null.
        compilations: Says how often the runtime has compiled the case so far.
    """

    call: Callable[[], object]
    facts: Facts = field(default_factory=Facts)
    busy: float = 0.0
    null_reasons: dict[str, str] = field(default_factory=dict)
    compilations: Callable[[], int] = lambda: 0


class Builder:
    """Builds the cases of one block on one device.

    Whoever can do more than that derives from it.

    Args:
        device: Where the cases live.
        block: Index of the block.
    """

    def __init__(self, device: Device, block: int) -> None:
        self.device = device
        self.block = block

    def use(self, case: Case) -> None:
        """Make the settings of the whole process that a case needs, before it is called."""
        precision.use(case.dtype)

    def prepare(self, case: Case, seconds: float, references: References) -> Bench:
        """Make a case ready for the first time; see `prepare`."""
        return prepare(case, self.device, self.block, seconds, references)

    def rebuild(self, case: Case) -> Bench:
        """Make a case ready that has been so before; see `rebuild`."""
        return rebuild(case, self.device, self.block)

    def drop(self, cases: Iterable[Case]) -> None:
        """Give back the memory of cases that nobody refers to any more."""
        release(self.device.torch_device)

    def healthy(self) -> bool:
        """Whether further cases can be built and called here."""
        return self.device.healthy()


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


def on_one_device(case: Case, model: nn.Module, example: Tensor) -> Forward:
    """Put a net under its execution, which may rewrite it."""
    run: Forward = EXECUTIONS.get(case.execution).factory(model, example)
    return run


@in_its_mode
def prepare(
    case: Case,
    device: Device,
    block: int,
    seconds: float,
    references: References,
    execute: Execute = on_one_device,
) -> Bench:
    """Build a case, check that it computes the right thing, measure its memory, warm it up.

    Args:
        case: What to prepare.
        device: Where.
        block: Index of the block; every block checks against other random inputs.
        seconds: Time for the warm-up.
        references: Filled and used, so that executions of one model share the reference.
        execute: Puts the net under its execution.

    Raises:
        Mismatch: It computes something else than the model's plain loop.
        Unsupported: It cannot run here.
    """
    where = device.torch_device
    precision.check(case.dtype, where)
    precision.use(case.dtype)
    get_ready(case, where)
    make_workspaces(case, where)
    device.memory.mark()
    model = build_model(case, where)
    facts = Facts(parameter_bytes=parameter_bytes(model))
    check_input = make_input(case, where, _seed("check", block, case.batch))
    gate = make_gate(case, model, check_input, references)
    example = make_example(case, where, block)
    elsewhere = _dispatches_elsewhere(case)
    if elsewhere:
        null_reasons = _count(facts, model, example, flops_alone=True)
    run = run_or_step(case, model, example, execute)
    if case.mode == "train":
        run(example)  # the optimiser makes its state at its first step and never again
    # Counted before the runtime is there: a graph's gradients must be the last ones made.
    if not elsewhere:
        null_reasons = _count(facts, run, example)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    facts.relative_error = gate(call(check_input))
    facts.compile_seconds = getattr(call, "compile_seconds", None)
    if facts.compile_seconds is None:
        null_reasons["compile_seconds"] = f"runtime {case.runtime} compiles nothing"
    del check_input, gate, model
    timed = _timed(case, call, example)
    times = warm_up(timed, device.clock, seconds)
    peak = device.memory.peak(timed)
    facts.warmup_calls = len(times)
    facts.peak_bytes, facts.reserved_bytes = peak.peak_bytes, peak.reserved_bytes
    null_reasons |= peak.null_reasons
    return Bench(timed, facts, sum(times), null_reasons, lambda: getattr(call, "compilations", 0))


@in_its_mode
def rebuild(
    case: Case,
    device: Device,
    block: int,
    annotate: Callable[[nn.Module], object] | None = None,
    execute: Execute = on_one_device,
) -> Bench:
    """Build a case again that `prepare` has accepted before, with one warm-up call.

    Args:
        case: What to build.
        device: Where.
        block: Index of the block.
        annotate: Receives the model once its execution is there and before its runtime is.
        execute: Puts the net under its execution.
    """
    where = device.torch_device
    precision.use(case.dtype)
    example = make_example(case, where, block)
    model = build_model(case, where)
    run = run_or_step(case, model, example, execute)
    if annotate is not None:
        annotate(model)
    call = RUNTIMES.get(case.runtime).factory(run, example)
    timed = _timed(case, call, example)
    busy = device.clock.wall(timed)
    return Bench(timed, busy=busy, compilations=lambda: getattr(call, "compilations", 0))


def make_example(case: Case, device: torch.device, block: int) -> Tensor:
    """Draw the input that the timed calls of a case get in a block."""
    return make_input(case, device, _seed("example", block, case.batch))


def run_or_step(
    case: Case, model: nn.Module, example: Tensor, execute: Execute = on_one_device
) -> Callable[[Tensor], Tensor]:
    """Return the net under its execution, or the step that trains it so."""
    if case.mode == "train":
        return make_step(model, lambda net, x: execute(case, net, x), example, case.scope)
    return execute(case, model, example)


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of the parameters in this process; PyTorch gives those cut across some as wholes."""
    own = (p.to_local() if hasattr(p, "to_local") else p for p in model.parameters())
    return sum(p.numel() * p.element_size() for p in own)


def _dispatches_elsewhere(case: Case) -> bool:
    """Whether operations are dispatched in other processes or threads, where none are counted."""
    return case.devices > 1 or EXECUTIONS.get(case.execution).traits.spread == THREADS


def _count(
    facts: Facts, run: Callable[[Tensor], object], x: Tensor, *, flops_alone: bool = False
) -> dict[str, str]:
    """Note what one call does, or return why that is not known: what can run can be timed.

    Args:
        facts: Receives the counts.
        run: Is called.
        x: With this.
        flops_alone: It is the plain loop, whose FLOPs are those of every execution.
    """
    try:
        counts = count(run, x)
    except Exception as error:
        reason = f"the call cannot be counted: {type(error).__name__}"
        return dict.fromkeys(("operations", "flops", "work"), reason)
    facts.flops = counts.flops
    if flops_alone:
        reason = "operations are not counted where a net is spread over processes or threads"
        return dict.fromkeys(("operations", "work"), reason)
    facts.operations, facts.work = counts.operations, counts.work
    return {}


def _timed(case: Case, call: Callable[[Tensor], object], x: Tensor) -> Callable[[], object]:
    def infer() -> object:
        return call(x)

    def train() -> object:
        with recording():  # samples are taken under the worker's inference mode
            return call(x)

    return train if case.mode == "train" else infer


def _seed(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())
