"""The steps of a trace: one profiled call each."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from paraformer_bench.timeline.event import ANNOTATION

PREFIX = "ProfilerStep#"


class Step(NamedTuple):
    """One profiled call, on the host's clock.

    Attributes:
        name: As the profiler calls it.
        start: Nanoseconds.
        end: Nanoseconds.
    """

    name: str
    start: int
    end: int


def steps(events: pd.DataFrame) -> list[Step]:
    """Return the steps without the first, which still pays for the profiler's start."""
    marks = events[(events["kind"] == ANNOTATION) & events["name"].str.startswith(PREFIX)]
    found = zip(marks["name"], marks["start"], marks["end"], strict=True)
    return [Step(str(name), int(start), int(end)) for name, start, end in found][1:]


def middle(found: list[Step]) -> Step:
    """Return the step of (lower) median length: all numbers of a timeline are of this one."""
    by_length = sorted(found, key=lambda step: step.end - step.start)
    return by_length[(len(found) - 1) // 2]
