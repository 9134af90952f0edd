"""What was seen of one case in one block: a line of ``records.jsonl``. Imports no torch."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError

STATUSES = ("ok", "skipped", "oom", "error", "timeout", "mismatch")
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


@dataclass
class Record:
    """One case in one block. Times are in seconds, sizes in bytes.

    Attributes:
        case: What was measured.
        block: Index of the block (a fresh worker process), from 0.
        order: Position at which the block prepared the case, from 0; null if never started.
        status: One of `STATUSES`.
        reason: Why the status is not ``ok``; null where it is.
        wall_seconds: Host-clock time of every synchronised call, in the order they were made.
        device_seconds: Event-timed device time of further calls; null without a GPU.
        rounds: Wall samples taken in each round; they sum to ``len(wall_seconds)``.
        peak_bytes: Peak memory of one call above what was in use before the case was built, so
            weights included: the allocator's on a GPU, the worker's resident set on a CPU. Of
            several ranks that of the one that needs most.
        reserved_bytes: Peak memory the GPU allocator held for the case; null on a CPU.
        parameter_bytes: Size of the model's parameters.
        flops: Floating-point operations of one call (a multiply-add counts two).
        operations: Operations dispatched by one call without views and allocations, before the
            runtime wraps it: a graph replays, and a compiler fuses, that many.
        work: Those operations by kind and size: name, how often, FLOPs of one, bytes that one
            reads and writes; null where they could not be counted.
        energy_joules: Energy of one call, idle power included; null where it could not be read.
        relative_error: ``||out - ref|| / ||ref||`` against the plain loop in float64; in training
            the largest of that of the loss and those of all gradients.
        warmup_calls: Untimed calls before the first sample.
        compile_seconds: Time the runtime took to compile the case; null where it compiles nothing.
        telemetry: Readings around the samples: clocks, temperatures, sentinel times; ``energy`` of
            the energy window: its ``seconds``, ``calls`` and mean ``watts``; ``ranks``: what each
            of several ranks needs, and the time of what they tell each other.
        null_reasons: For each field that is null without being an error, why.
        flags: Names from `FLAGS`.
    """

    case: Case
    block: int
    order: int | None
    status: str
    reason: str | None = None
    wall_seconds: list[float] = field(default_factory=list)
    device_seconds: list[float] | None = None
    rounds: list[int] = field(default_factory=list)
    peak_bytes: int | None = None
    reserved_bytes: int | None = None
    parameter_bytes: int | None = None
    flops: int | None = None
    operations: int | None = None
    work: list[tuple[str, int, int, int]] | None = None
    energy_joules: float | None = None
    relative_error: float | None = None
    warmup_calls: int = 0
    compile_seconds: float | None = None
    telemetry: dict[str, Any] = field(default_factory=dict)
    null_reasons: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int]:
        """Case id and block: no run folder holds two records of one key."""
        return self.case.id, self.block

    def to_line(self) -> str:
        """Return the record as one line of JSON with a newline at its end."""
        data = asdict(self) | {"case": self.case.to_json(), "case_id": self.case.id}
        return json.dumps(data, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """Rebuild a record; keys of newer versions are ignored.

        Times may be zero or below, as no clock promises that they are not: statistics leave out
        a block whose median is not positive.

        Raises:
            KeyError: A field without a default is missing.
            TypeError: Likewise, or ``data`` or its case is no mapping.
            UsageError: A field is not of its kind (`KINDS`), or the case cannot be.
        """
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        for name, value in known.items():
            if name in KINDS and not KINDS[name][0](value):
                raise UsageError(f"{name} must be {KINDS[name][1]}")
        record = cls(**(known | {"case": Case.from_json(data["case"]).check(known=False)}))
        if sum(record.rounds) > len(record.wall_seconds):
            raise UsageError("rounds must not hold more samples than wall_seconds")
        return record


Kind = tuple[Callable[[Any], bool], str]
"""Whether a value is of that kind, and the words for what is."""

_MOST = 2**62
"""Whole numbers are below it: tables hold them as 64-bit integers and their medians as floats."""


def _finite(value: Any) -> bool:
    # Whole numbers may be too large for `math`; NaN compares as false.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _times(value: Any) -> bool:
    """Check a list in a few passes that run in C: a large run has millions of samples."""
    try:
        return (
            isinstance(value, list)
            and set(map(type, value)) <= {int, float}
            # A sum of finite numbers that overflows is rare, and the first check twice as fast.
            and (math.isfinite(sum(value)) or all(map(math.isfinite, value)))
        )
    except OverflowError:  # a whole number beyond all floats
        return False


def _whole(value: Any) -> bool:
    return type(value) is int and -_MOST < value < _MOST


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _texts(value: Any) -> bool:
    return all(isinstance(text, str) for text in value)


_COUNT: Kind = (_count, "a whole number of 0 or more")


def _or_null(kind: Kind) -> Kind:
    check, words = kind
    return lambda value: value is None or check(value), f"{words}, or null"


_SIZE = _or_null((_whole, "a whole number of 64 bits"))
_NUMBER = _or_null((_finite, "a finite number"))
_TIMES: Kind = (_times, "a list of finite numbers")

KINDS: dict[str, Kind] = {
    "block": _COUNT,
    "order": _or_null(_COUNT),
    "status": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    "reason": _or_null((lambda value: isinstance(value, str), "text")),
    "wall_seconds": _TIMES,
    "device_seconds": _or_null(_TIMES),
    "rounds": (
        lambda value: isinstance(value, list) and all(map(_count, value)),
        "a list of whole numbers of 0 or more",
    ),
    "peak_bytes": _SIZE,
    "reserved_bytes": _SIZE,
    "parameter_bytes": _SIZE,
    "flops": _SIZE,
    "operations": _SIZE,
    "work": _or_null((lambda value: isinstance(value, list), "a list")),
    "energy_joules": _NUMBER,
    "relative_error": _NUMBER,
    "warmup_calls": _COUNT,
    "compile_seconds": _NUMBER,
    "telemetry": (lambda value: isinstance(value, dict), "an object"),
    "null_reasons": (
        lambda value: isinstance(value, dict) and _texts(value.values()),
        "an object of texts",
    ),
    "flags": (lambda value: isinstance(value, list) and _texts(value), "a list of texts"),
}
"""What each field of a `Record` must be in a file; the case has a check of its own."""
