"""Series that are judged together: from cells to arrays, and from steps to changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from paraformer_bench.analysis.intervals import Array
from paraformer_bench.history import scatter
from paraformer_bench.history.change import Change, Judgement, Moved, Track, verdict_of
from paraformer_bench.history.detect import Fit, Step, detect
from paraformer_bench.history.history import Commit, History
from paraformer_bench.history.kinds import EXACT, PLAIN, RATIO, TIME, is_sentinel
from paraformer_bench.history.results import OK, Cell, Series
from paraformer_bench.history.scatter import FEWEST_BLOCKS, Booleans
from paraformer_bench.history.sentinel import anchored

_QUARTILES = 2 * 0.6745
"""Standard deviations of a normal variable between its quartiles."""
_LARGEST = 700.0
"""Largest exponent that a float can hold."""


class Panel:
    """Series that are judged together, as arrays.

    Args:
        kind: Of all of them.
        members: The series.
        history: Commits that make the columns.
    """

    def __init__(self, kind: str, members: Sequence[Series], history: History) -> None:
        self.kind = kind
        self.members = members
        self.commits = history.commits
        self.judged_in_logs = kind in (TIME, RATIO)
        cells = [[held(s.cells.get(c.hash), kind) for c in self.commits] for s in members]
        most = max((len(blocks) for row in cells for blocks, _ in row), default=0)
        self.blocks = np.full((len(members), len(self.commits), max(most, 1)), np.nan)
        self.measured = np.zeros(self.blocks.shape[:2], dtype=np.bool_)
        for k, row in enumerate(cells):
            for commit, (blocks, measured) in enumerate(row):
                self.blocks[k, commit, : len(blocks)] = blocks
                self.measured[k, commit] = measured
        counts = np.isfinite(self.blocks).sum(axis=2)
        self.usable = counts >= FEWEST_BLOCKS
        self.places = int(np.maximum(self.usable.sum(axis=1) - 1, 0).sum())

    @property
    def paired(self) -> Booleans:
        """Where blocks stand in the order in which they were measured."""
        tracked = np.array([[series.tracked] for series in self.members])
        return np.asarray(self.measured & tracked, dtype=np.bool_)

    def restlessness(self) -> Array:
        """Variance of the machine's speed from block to block, one a commit."""
        return scatter.restlessness(self.blocks, self.paired)

    def fit(self, judgement: Judgement, restless: Array | None) -> None:
        """Judge series with scatter.

        Args:
            judgement: Receives what was found.
            restless: How much the machine's speed varied at each commit, for times that were
                measured at other minutes than those that tell it.
        """
        least = restless
        if self.kind == PLAIN:
            least = np.full(len(self.commits), scatter.PLAIN**2)
        timed = self.kind == TIME
        sentinels = [k for k, series in enumerate(self.members) if is_sentinel(series.name)]
        sentinel = sentinels[0] if timed and sentinels else None
        fit = detect(self.blocks, timed, judgement.tests, self.paired, least, sentinel)
        if sentinel is not None:
            fit = anchored(fit, sentinel)
        for step in fit.steps:
            change = self._change(step, judgement.threshold)
            if change.commit.hash in judgement.judged:
                judgement.changes.append(change)
        self.show(judgement, fit)
        if self.kind == TIME:
            name = self.members[0].name
            together = self.usable.any(axis=0)
            judgement.moved += [
                Moved(commit, name.machine, name.environment, _exp(shift))
                for commit, shift, some in zip(self.commits, fit.shift, together, strict=True)
                if some
            ]

    def _change(self, step: Step, threshold: float) -> Change:
        series = self.members[step.series]
        seen = np.flatnonzero(self.usable[step.series, : step.commit])
        before, after = self._plain(step.before), self._plain(step.after)
        ratio = low = high = None
        if self.judged_in_logs:
            ratio, low, high = (_exp(value) for value in (step.change, step.low, step.high))
        return Change(
            self.commits[step.commit],
            self.commits[int(seen[-1])],
            _between(self.commits[int(seen[-1]) + 1 : step.commit + 1]),
            series.name,
            series.unit,
            self.kind,
            verdict_of(before, after, ratio, threshold),
            before,
            after,
            ratio,
            low,
            high,
        )

    def without_scatter(self) -> list[Series]:
        """Return series that have values but nowhere enough samples."""
        return [
            series
            for series, usable in zip(self.members, self.usable, strict=True)
            if not usable.any() and any(cell.status == OK for cell in series.cells.values())
        ]

    def follow(self, judgement: Judgement) -> None:
        """Judge series without scatter: any difference is a change."""
        for series in self.members:
            last: tuple[int, float] | None = None
            for place, commit in enumerate(self.commits):
                cell = series.cells.get(commit.hash)
                if cell is None or cell.status != OK:
                    continue
                if last is not None and cell.value != last[1] and commit.hash in judgement.judged:
                    known = self.commits[last[0] : place + 1]
                    judgement.changes.append(_exact(series, known, last[1], cell.value))
                last = (place, cell.value)
        self.show(judgement, None)

    def show(self, judgement: Judgement, fit: Fit | None) -> None:
        """Keep what the figures need."""
        for k, series in enumerate(self.members):
            places = [
                place
                for place, commit in enumerate(self.commits)
                if (cell := series.cells.get(commit.hash)) is not None
                and cell.status == OK
                and (fit is None or self.usable[k, place])
            ]
            if not places:
                continue
            measured = [series.cells[self.commits[place].hash].value for place in places]
            values, levels = list(measured), list(measured)
            blocks = [series.cells[self.commits[place].hash].samples for place in places]
            if fit is not None:
                values = [self._plain(fit.values[k, place]) for place in places]
                levels = [self._plain(fit.levels[k, place]) for place in places]
                measured = [
                    self._plain(fit.values[k, place] + fit.shift[place]) for place in places
                ]
                blocks = [
                    tuple(self._plain(b - fit.shift[place]) for b in self._seen(k, place))
                    for place in places
                ]
            judgement.tracks.append(
                Track(
                    series,
                    self.kind,
                    tuple(self.commits[place] for place in places),
                    tuple(blocks),
                    tuple(values),
                    tuple(measured),
                    tuple(levels),
                )
            )

    def _seen(self, series: int, commit: int) -> Array:
        if not self.measured[series, commit]:
            return np.array([])  # they stand for quartiles
        row = self.blocks[series, commit]
        return np.asarray(row[np.isfinite(row)], dtype=np.float64)

    def _plain(self, value: float) -> float:
        return _exp(value) if self.judged_in_logs else float(value)


def held(cell: Cell | None, kind: str) -> tuple[list[float], bool]:
    """Block medians on the scale on which they are judged, and whether they were measured so.

    Where asv has kept the quartiles alone, as many values with these quartiles stand for them.
    """
    if cell is None or cell.status != OK:
        return [], False
    values = cell.samples
    if kind != PLAIN:
        if cell.value <= 0 or any(value <= 0 for value in values):
            return [], False
        values = tuple(math.log(value) for value in values)
    if len(values) >= FEWEST_BLOCKS:
        return list(values), True
    ends = cell.quartiles
    if ends is None or cell.count < FEWEST_BLOCKS or not all(map(math.isfinite, ends)):
        return [], False
    middle = cell.value
    if kind != PLAIN:
        if min(ends) <= 0:
            return [], False
        middle, ends = math.log(middle), (math.log(ends[0]), math.log(ends[1]))
    spread = max(ends[1] - ends[0], 0.0) / _QUARTILES
    count = min(cell.count, 1000)
    return [middle + spread * float(ndtri((k + 0.5) / count)) for k in range(count)], False


def _between(commits: Sequence[Commit]) -> int:
    """Count what has no data between a commit and the last of those that follow it."""
    return sum(commit.between + 1 for commit in commits) - 1


def _exact(series: Series, commits: Sequence[Commit], before: float, after: float) -> Change:
    ratio = after / before if before > 0 and after > 0 else None
    if ratio is not None and math.isinf(ratio):
        ratio = None
    verdict = verdict_of(before, after, ratio, 0.0)
    return Change(
        commits[-1],
        commits[0],
        _between(commits[1:]),
        series.name,
        series.unit,
        EXACT,
        verdict,
        before,
        after,
        ratio,
        ratio,
        ratio,
    )


def _exp(value: float) -> float:
    return math.exp(min(value, _LARGEST))
