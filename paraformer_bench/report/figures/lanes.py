"""What a timeline's picture is made of: bars of one colour, and above them the net's parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from paraformer_bench.timeline.kinds import KINDS, kind_of

JOIN = "join"
TOGETHER = "all branches"

MOST_EXACT = 1_500
"""Operations of a row beyond this are drawn by columns, as many in all lanes together."""

_FEWEST_COLUMNS = 60

_LEAST = 0.25
"""Of the width of what can be told apart: no operation is drawn shorter."""

Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """Operations of one kind without a visible gap between them; times in seconds."""

    start: float
    end: float
    kind: str


@dataclass(frozen=True)
class Stretch:
    """A stretch of a lane that belongs to one part of the net; times in seconds.

    Attributes:
        start: Of its first operation.
        end: Of its last one.
        what: ``layer``, ``branch``, `JOIN` or `TOGETHER`.
        number: Of the layer or branch; -1 otherwise.
    """

    start: float
    end: float
    what: str
    number: int = -1


@dataclass(frozen=True)
class Lane:
    """One stream of a GPU or thread of a host.

    Attributes:
        bars: By start.
        parts: By start; operations outside of any part have none.
        exact: Every operation is where it was; else what ran most of a column is drawn in it.
    """

    bars: list[Bar]
    parts: list[Stretch]
    exact: bool


def lanes(operations: pd.DataFrame, seconds: float, resolution: float) -> list[Lane]:
    """Return the lanes of a step in the order in which they begin.

    Args:
        operations: `timeline.metrics.View.operations`.
        seconds: Length of the axis.
        resolution: Seconds that nobody can tell apart.
    """
    kinds = [
        kind_of(str(operation), str(name))
        for operation, name in zip(operations["operation"], operations["name"], strict=True)
    ]
    whats, numbers = _parts(operations)
    held = operations.assign(colour=kinds, what=whats, number=numbers)
    width = 0.0
    if len(operations) > MOST_EXACT:
        columns = max(MOST_EXACT / operations["lane"].nunique(), _FEWEST_COLUMNS)
        width = max(seconds / columns, resolution)
    return [_lane(group, resolution, width) for _, group in held.groupby("lane", sort=False)]


def _lane(operations: pd.DataFrame, resolution: float, width: float) -> Lane:
    starts = operations["start_seconds"].to_numpy(dtype=np.float64)
    ends = operations["end_seconds"].to_numpy(dtype=np.float64)
    kinds = operations["colour"].tolist()
    if width:
        bars = _by_columns(starts, ends, kinds, width)
    else:
        bars = _exact(starts, ends, kinds, _LEAST * resolution)
    parts = list(zip(operations["what"], operations["number"], strict=True))
    return Lane(bars, _stretches(starts, ends, parts), not width)


def _exact(starts: Times, ends: Times, kinds: Sequence[str], least: float) -> list[Bar]:
    bars: list[Bar] = []
    for start, end, kind in zip(starts.tolist(), ends.tolist(), kinds, strict=True):
        if bars and bars[-1].kind == kind and start - bars[-1].end < least:
            bars[-1] = Bar(bars[-1].start, max(bars[-1].end, end), kind)
        else:
            bars.append(Bar(start, max(end, start + least), kind))
    return bars


def _by_columns(starts: Times, ends: Times, kinds: Sequence[str], width: float) -> list[Bar]:
    """Draw in each column what ran longest in it, for as long as anything ran in it."""
    first = float(starts.min())
    columns = int(np.ceil((float(ends.max()) - first) / width)) + 1
    time = np.zeros((len(KINDS), columns))
    rows = np.array([KINDS.index(kind) for kind in kinds])
    for row, start, end in zip(
        rows, (starts - first) / width, (ends - first) / width, strict=True
    ):
        low, high = int(start), int(end)
        if low == high:
            time[row, low] += end - start
        else:
            time[row, low] += low + 1 - start
            time[row, low + 1 : high] += 1
            time[row, high] += end - high
    share, most = np.minimum(time.sum(axis=0), 1), time.argmax(axis=0)
    bars: list[Bar] = []
    for column in np.flatnonzero(share > 0).tolist():
        kind, start = KINDS[most[column]], first + column * width
        end = start + width * max(float(share[column]), _LEAST)
        if bars and bars[-1].kind == kind and start - bars[-1].end < 1e-6 * width:
            bars[-1] = Bar(bars[-1].start, end, kind)
        else:
            bars.append(Bar(start, end, kind))
    return bars


def _parts(operations: pd.DataFrame) -> tuple[list[str], list[int]]:
    """Say for each operation which part of the net it belongs to: what that is, and its number."""
    rows = operations[["place", "layer", "branch"]]
    branched = set(rows["place"][rows["branch"] >= 0])
    whats, numbers = [], []
    for place, layer, branch in rows.itertuples(index=False, name=None):
        what, number = ("layer", layer) if layer >= 0 else ("", -1)
        if branch >= 0:
            what, number = "branch", branch
        elif place >= 0:
            what, number = (JOIN if place in branched else TOGETHER), -1
        whats.append(what)
        numbers.append(int(number))
    return whats, numbers


def _stretches(starts: Times, ends: Times, parts: Sequence[tuple[str, int]]) -> list[Stretch]:
    found: list[Stretch] = []
    before: Any = None
    for start, end, part in zip(starts.tolist(), ends.tolist(), parts, strict=True):
        if part == before and part[0]:
            last = found[-1]
            found[-1] = Stretch(last.start, max(last.end, end), *part)
        elif part[0]:
            found.append(Stretch(start, end, *part))
        before = part
    return found
