"""What was seen of one case in one block: a line of ``records.jsonl``. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from paraformer_bench.study import wire
from paraformer_bench.study.case import Case

Status = Literal["ok", "skipped", "oom", "error", "timeout", "mismatch"]
STATUSES: tuple[Status, ...] = ("ok", "skipped", "oom", "error", "timeout", "mismatch")
BROKEN = ("error", "timeout", "mismatch")
"""Statuses that make the sweep end with exit code 3."""

ENOUGH_SAMPLES = 5
"""Fewer samples in a block earn the flag ``too_few_samples``."""

OTHERS_CORES = 0.25
"""Cores' worth of CPU that other programs may take from a worker before its times suffer."""
STOLEN_SHARE = 0.05
"""Share of a core that the hypervisor may take."""
CPU_CLOCK_DROP = 0.20
"""Drop of a CPU's clock that counts; laptops and turbo modes move by less all the time."""
SM_CLOCK_DROP = 0.05
"""Drop of a GPU's clock under load, from one round to another, that counts."""
LOWEST_SM_CLOCK = 0.75
"""Share of its maximum that a GPU's clock must have under load; power-capped data-centre GPUs run
large products at 0.7 to 0.9 of it, the nets measured here load them less."""

FLAGS = {
    "unconverged": "the time of the case was up before its interval was narrow enough",
    "too_few_samples": f"fewer than {ENOUGH_SAMPLES} timed calls in the block",
    "interrupted": "the worker or the sweep ended before all rounds of this case were done",
    "drift": "the sentinel case moved by more than 10% within the block",
    "queue_dry": "the device may have run out of queued work during some device-timed calls",
    "throttled": "the GPU reported thermal or power throttling while the case was timed",
    "clock_drop": (
        f"the GPU's SM clock under load fell by more than {SM_CLOCK_DROP:.0%} between rounds or "
        f"lay below {LOWEST_SM_CLOCK:.0%} of its maximum, or the CPU's clock fell by more than "
        f"{CPU_CLOCK_DROP:.0%}"
    ),
    "cpu_busy": (
        f"other programs took more than {OTHERS_CORES:g} of a core that the worker needed"
    ),
    "cpu_stolen": f"the hypervisor took more than {STOLEN_SHARE:.0%} of a core",
    "foreign_process": "another process used the GPU while the case was timed",
    "recompiled": "the runtime compiled again while the case was timed",
}
"""Every validity flag a record can carry, with the words a reader sees."""

SPOILING = frozenset(FLAGS) - {"unconverged", "too_few_samples"}
"""Flags that say that times may be wrong. The two others say that they are known less well, which
the spread over blocks shows by itself."""


_MOST = 2**62
Count = Annotated[int, Meta(ge=0, lt=_MOST)]
Whole = Annotated[int, Meta(gt=-_MOST, lt=_MOST)]
"""Whole numbers stay below 2**62: tables hold them as 64-bit integers, their medians as floats."""

Work = list[tuple[str, int, int, int]]
"""Operations by kind and size: name, how often, FLOPs of one, bytes that one reads and writes."""


class Facts(Struct):
    """What is known of a case in one block before it is timed; sizes in bytes.

    Attributes:
        peak_bytes: Peak memory of one call above what was in use before the case was built, so
            weights included: the allocator's on a GPU, the worker's resident set on a CPU. Of
            several ranks that of the one that needs most.
        reserved_bytes: Peak memory the GPU allocator held for the case; null on a CPU.
        parameter_bytes: Size of the model's parameters.
        flops: Floating-point operations of one call (a multiply-add counts two).
        operations: Operations dispatched by one call without views and allocations, before the
            runtime wraps it: a graph replays, and a compiler fuses, that many.
        work: Those operations by kind and size; null where they could not be counted.
        relative_error: ``||out - ref|| / ||ref||`` against the plain loop in float64; in training
            the largest of that of the loss and those of all gradients.
        warmup_calls: Untimed calls before the first sample.
        compile_seconds: Time the runtime took to compile the case; null where it compiles nothing.
        telemetry: Readings around the samples: clocks, temperatures, sentinel times; ``energy`` of
            the energy window: its ``seconds``, ``calls`` and mean ``watts``; ``ranks``: what each
            of several ranks needs, and the time of what they tell each other.
    """

    peak_bytes: Whole | None = None
    reserved_bytes: Whole | None = None
    parameter_bytes: Whole | None = None
    flops: Whole | None = None
    operations: Whole | None = None
    work: Work | None = None
    relative_error: float | None = None
    warmup_calls: Count = 0
    compile_seconds: float | None = None
    telemetry: dict[str, Any] = field(default_factory=dict)


class Record(Facts, kw_only=True):
    """One case in one block: a line of ``records.jsonl``. Times are in seconds.

    Times may be zero or below, as no clock promises that they are not: statistics leave out a
    block whose median is not positive.

    Attributes:
        case: What was measured.
        block: Index of the block (a fresh worker process), from 0.
        order: Position at which the block prepared the case, from 0; null if never started.
        status: One of `STATUSES`.
        reason: Why the status is not ``ok``; null where it is.
        wall_seconds: Host-clock time of every synchronised call, in the order they were made.
        device_seconds: Event-timed device time of further calls; null without a GPU.
        rounds: Wall samples taken in each round; they sum to ``len(wall_seconds)``.
        energy_joules: Energy of one call, idle power included; null where it could not be read.
        null_reasons: For each field that is null without being an error, why.
        flags: Names from `FLAGS`.
    """

    case: Case
    block: Count
    order: Count | None = None
    status: Status
    reason: str | None = None
    wall_seconds: list[float] = field(default_factory=list)
    device_seconds: list[float] | None = None
    rounds: list[Count] = field(default_factory=list)
    energy_joules: float | None = None
    null_reasons: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if sum(self.rounds) > len(self.wall_seconds):
            raise ValueError("rounds must not hold more samples than wall_seconds")

    @property
    def key(self) -> tuple[str, int]:
        """Case id and block: no run folder holds two records of one key."""
        return self.case.id, self.block

    def line(self) -> bytes:
        """Return the record as one line of JSON with a newline at its end."""
        fields = wire.plain(self) | {"case_id": self.case.id}
        return wire.encode(fields) + b"\n"


READER = wire.decoder(Record)
"""Reads lines of ``records.jsonl``, those of older and newer versions too."""
