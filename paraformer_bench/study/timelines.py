"""Kernel timelines that are taken after timing: of which cases, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from paraformer_bench.study import wire
from paraformer_bench.study.case import Case, Curve, Fields

TRACES = "traces"
"""Folder of the traces in a run folder: one folder a case, named by its id."""

ENDING = ".pt.trace.json.gz"
"""Ending of a trace's name, which both Perfetto and TensorBoard's plugin know."""

PARTIAL = "partial.gz"
"""A trace that is being written; no reader takes it for one."""

NONE, ENDS, ALL = CHOICES = ("none", "ends", "all")
"""Cases to profile: none, the shallowest and the deepest of each curve, or all."""

MOST_BYTES = 64_000_000
"""Traces of one run may take this much on the disk; cases that come later go without."""


class Profile(Struct, frozen=True, kw_only=True):
    """What became of profiling one case; ``run.json`` keeps one for each, by case id.

    Times under the profiler are never a result: they say how much it slowed the case down.

    Attributes:
        file: Path of the trace below the traces' folder (in ``run.json`` the run's), or None.
        reason: Why there is no trace, or None.
        steps: Calls in the trace.
        bytes: Size of the trace on the disk.
        seconds_per_call_profiled: Median wall time of the calls in the trace.
        seconds_per_call_unprofiled: Median wall time of as many calls made just before, in the
            same process, without the profiler.
    """

    file: str | None = None
    reason: str | None = None
    steps: int = 0
    bytes: int = 0
    seconds_per_call_profiled: float | None = None
    seconds_per_call_unprofiled: float | None = None

    @property
    def slowdown(self) -> float | None:
        """How many times longer a call takes under the profiler."""
        if not (self.seconds_per_call_profiled and self.seconds_per_call_unprofiled):
            return None
        return self.seconds_per_call_profiled / self.seconds_per_call_unprofiled

    def plain(self) -> Fields:
        """Return what ``run.json`` holds: the fields and the slow-down."""
        fields: Fields = wire.plain(self)
        return fields | {"slowdown": self.slowdown}


def choose(cases: Iterable[Case], which: str) -> list[Case]:
    """Return the cases to profile, those of one curve next to each other from shallow to deep.

    None of several devices: a trace holds what its own process did.

    Args:
        cases: Those that have been timed.
        which: One of `CHOICES`.
    """
    if which == NONE:
        return []
    curves: dict[Curve, list[Case]] = {}
    for case in (case for case in cases if case.devices == 1):
        curves.setdefault(case.curve, []).append(case)
    chosen: list[Case] = []
    for curve in curves.values():
        curve.sort(key=lambda case: case.depth)
        chosen += curve if which == ALL else dict.fromkeys((curve[0], curve[-1]))
    return chosen
