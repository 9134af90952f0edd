"""Kernel timelines that are taken after timing: which cases, by what job, and what became of each.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from paraformer_bench.study.case import Case

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


@dataclass(frozen=True)
class ProfileJob:
    """What the profiling child is asked to do.

    Attributes:
        device: ``cpu`` or ``cuda:N``.
        cases: In the order of their turn.
        folder: Receives a folder for each case.
        plugins: Paths of plugin files to load first.
        check: Whether no case has passed the correctness gate yet, so that each must do so now.
        seconds: Time for the profiled calls of one case; there are a few at least.
    """

    device: str
    cases: list[Case]
    folder: str
    plugins: list[str] = field(default_factory=list)
    check: bool = False
    seconds: float = 0.5

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {"cases": [case.to_json() for case in self.cases]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProfileJob:
        """Rebuild a job from `to_json`."""
        cases = [Case.from_json(case) for case in data["cases"]]
        return cls(**(dict(data) | {"cases": cases}))


@dataclass(frozen=True)
class Profile:
    """What became of profiling one case; ``run.json`` keeps one for each, by case id.

    Times under the profiler are never a result: they say how much it slowed the case down.

    Attributes:
        file: Path of the trace below the traces' folder, or None.
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

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values, the slow-down among them."""
        return asdict(self) | {"slowdown": self.slowdown}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Rebuild a profile; keys of newer versions are ignored."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def choose(cases: Iterable[Case], which: str) -> list[Case]:
    """Return the cases to profile, those of one curve next to each other from shallow to deep.

    None of several devices: a trace holds what its own process did.

    Args:
        cases: Those that have been timed.
        which: One of `CHOICES`.
    """
    if which == NONE:
        return []
    curves: dict[str, list[Case]] = {}
    for case in (case for case in cases if case.devices == 1):
        curves.setdefault(case.curve_id, []).append(case)
    chosen: list[Case] = []
    for curve in curves.values():
        curve.sort(key=lambda case: case.depth)
        chosen += curve if which == ALL else dict.fromkeys((curve[0], curve[-1]))
    return chosen
