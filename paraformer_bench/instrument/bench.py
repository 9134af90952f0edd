"""From a case to something that can be timed: build, prepare, check, warm up."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

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
    """Builds the cases of one block on one device; who can do more than that derives from it.

    Every block checks and times other random inputs, drawn from its index.
    """

    def __init__(self, device: Device, block: int) -> None:
        self.device = device
        self.block = block

    def prepare(self, case: Case, seconds: float, references: References) -> Bench:
        """Build a case, check that it computes the right thing, measure its memory, warm it up.

        The warm-up takes ``seconds`` at most. ``references`` are filled and used, so that
        executions of one model share one.

        Raises:
            Mismatch: It computes something else than the model's plain loop.
            Unsupported: It cannot run here.
        """
        where, memory = self.device.torch_device, self.device.memory
        precision.check(case.dtype, where)
        self.use(case)
        with in_its_mode(case):
            get_ready(case, where)
            make_workspaces(case, where)
            memory.mark()
            model = build_model(case, where)
            facts = Facts(parameter_bytes=parameter_bytes(model))
            check_input = make_input(case, where, _seed("check", self.block, case.batch))
            gate = make_gate(case, model, check_input, references)
            example = make_example(case, where, self.block)
            # What other processes or threads dispatch is not counted; the plain loop's FLOPs are
            # those of every execution.
            elsewhere = EXECUTIONS.get(case.execution).traits.spread == THREADS or case.devices > 1
            if elsewhere:
                null_reasons = _count(facts, model, example, flops_alone=True)
            run = self.run_or_step(case, model, example)
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
            bench = _bench(case, call, example)
            times = warm_up(bench.call, self.device.clock, seconds)
            peak = memory.peak(bench.call)
        facts.warmup_calls, bench.busy = len(times), sum(times)
        facts.peak_bytes, facts.reserved_bytes = peak.peak_bytes, peak.reserved_bytes
        bench.facts, bench.null_reasons = facts, null_reasons | peak.null_reasons
        return bench

    def rebuild(self, case: Case) -> Bench:
        """Build a case that `prepare` has accepted before, with one warm-up call."""
        where = self.device.torch_device
        precision.check(case.dtype, where)
        self.use(case)
        with in_its_mode(case):
            get_ready(case, where)
            example = make_example(case, where, self.block)
            run = self.run_or_step(case, build_model(case, where), example)
            bench = _bench(case, RUNTIMES.get(case.runtime).factory(run, example), example)
            bench.busy = self.device.clock.wall(bench.call)
        return bench

    def use(self, case: Case) -> None:
        """Make the settings of the whole process that a case needs, before it is called."""
        precision.use(case.dtype)

    def run_or_step(self, case: Case, model: nn.Module, example: Tensor) -> Forward:
        """Return the net under its execution, or the step that trains it so."""
        execute = partial(self.execute, case)
        if case.mode == "train":
            return make_step(model, execute, example, case.scope)
        return execute(model, example)

    def execute(self, case: Case, model: nn.Module, example: Tensor) -> Forward:
        """Put a net under its execution, which may rewrite it."""
        run: Forward = EXECUTIONS.get(case.execution).factory(model, example)
        return run

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


def make_example(case: Case, device: torch.device, block: int) -> Tensor:
    """Draw the input that the timed calls of a case get in a block."""
    return make_input(case, device, _seed("example", block, case.batch))


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of the parameters in this process; PyTorch gives those cut across some as wholes."""
    own = (p.to_local() if hasattr(p, "to_local") else p for p in model.parameters())
    return sum(p.numel() * p.element_size() for p in own)


def _count(
    facts: Facts, run: Callable[[Tensor], object], x: Tensor, *, flops_alone: bool = False
) -> dict[str, str]:
    """Note what one call does, or return why that is not known: what can run can be timed."""
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


def _bench(case: Case, call: Callable[[Tensor], object], x: Tensor) -> Bench:
    """Bind the call of a case to its input."""

    def infer() -> object:
        return call(x)

    def train() -> object:
        with recording():  # samples are taken under the worker's inference mode
            return call(x)

    timed = train if case.mode == "train" else infer
    return Bench(timed, compilations=lambda: getattr(call, "compilations", 0))


def _seed(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())
