"""From asv's results to changes: what changed at which commit, and what had no data there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from paraformer_bench.analysis.intervals import Array
from paraformer_bench.history import scatter
from paraformer_bench.history.changes import (
    NO_RESULT,
    NOT_THERE,
    TOO_FEW,
    Change,
    Gap,
    Judgement,
    Moved,
    Track,
    verdict_of,
)
from paraformer_bench.history.commits import Commit, History, judged, order
from paraformer_bench.history.detect import Fit, detect
from paraformer_bench.history.results import (
    EXACT,
    FAILED,
    NOT_APPLICABLE,
    OK,
    PLAIN,
    TIME,
    BenchmarkSeries,
    Measurement,
    Name,
    Results,
    find_results,
    first_word,
    read_results,
)
from paraformer_bench.history.scatter import FEWEST_BLOCKS, Booleans

_QUARTILES = 2 * 0.6745
"""Standard deviations of a normal variable between its quartiles."""
_LARGEST = 700.0
"""Largest exponent that a float can hold."""
_HAS_DATA = ""


def look(
    results: Path | None,
    machine: str | None,
    threshold: float,
    last: int | None,
    commits: str | None,
) -> tuple[Judgement, list[str]]:
    """Read the results, put their commits in order and judge them; also return the warnings.

    Without a folder of results it is that of asv's configuration here. One machine can be judged
    alone, and changes be told of the ``last`` so many commits or of a range ``A..B`` alone.

    Raises:
        UsageError: There is nothing to judge, or a name is not known.
    """
    folder, repository = find_results(results, Path.cwd())
    read = read_results(folder, machine)
    history = order(set().union(*read.measured.values()), read.dates, repository)
    judgement = Judgement(history, judged(history, last, commits, repository), threshold)
    _judge(read, judgement)
    return judgement, read.warnings


def _judge(results: Results, judgement: Judgement) -> None:
    """Find every change in the history of every benchmark.

    The whole history is looked at, and the chance of a false alarm is bounded over all of it;
    of the commits that are not judged the changes are not told.
    """
    history = judgement.history
    members: dict[tuple[str, ...], list[BenchmarkSeries]] = {}
    for series in results.series:
        members.setdefault(_shared(series), []).append(series)
    groups = {key: SeriesGroup(key[0], each, history) for key, each in members.items()}
    scattering = [group for group in groups.values() if group.kind != EXACT]
    judgement.tests = sum(group.places for group in scattering)
    restless = {
        key[1:4]: scatter.restlessness(group.blocks, group.measured)
        for key, group in groups.items()
        if group.kind == TIME and group.tracked
    }
    for key, group in groups.items():
        fit = None
        if group.kind != EXACT and group.places:
            apart = group.kind == TIME and not group.tracked
            fit = group.fit(judgement.tests, restless.get(key[1:4]) if apart else None)
            judgement.moved += group.moved(fit)
        changes = group.steps(fit, judgement.threshold) if fit else group.differences()
        judgement.changes += (c for c in changes if c.commit.hash in judgement.judged)
        judgement.tracks += group.tracks(fit)
    order = {series.name: place for place, series in enumerate(results.series)}
    places = {commit.hash: place for place, commit in enumerate(history.commits)}
    judgement.tracks.sort(key=lambda track: order[track.series.name])
    judgement.changes.sort(key=lambda c: (places[c.commit.hash], -c.size, order[c.name]))
    judgement.unjudged = [
        series.name
        for group in scattering
        for series, usable in zip(group.members, group.usable, strict=True)
        if not usable.any() and any(cell.status == OK for cell in series.cells.values())
    ]
    judgement.gaps = list(_gaps(results, judgement))


def _shared(series: BenchmarkSeries) -> tuple[str, ...]:
    """What must be equal for series to be judged together, their kind first."""
    shared = (series.kind, series.name.machine, series.name.environment)
    if series.kind == TIME:  # of a GPU and of a CPU one can be slow without the other
        apart = "" if series.tracked else "apart"  # at another minute than all others
        return (*shared, series.name.device, apart)
    return (*shared, first_word(series.unit))


class SeriesGroup:
    """Series that are judged together, as arrays.

    Attributes:
        blocks: Block medians, or their logarithms: series x commits x blocks, NaN for missing.
        usable: Where there are enough blocks: series x commits.
        places: Where a series may have changed, over all of them.
        tracked: Whether the first of them returns its samples itself; then all times do.
        measured: Where blocks were measured as such; those that stand for quartiles were not.
    """

    def __init__(self, kind: str, members: Sequence[BenchmarkSeries], history: History) -> None:
        self.kind = kind
        self.members = members
        self.commits = history.commits
        cells = [
            [_block_values(series.seen_at(commit.hash), kind) for commit in self.commits]
            for series in members
        ]
        most = max((len(blocks) for row in cells for blocks, _ in row), default=0)
        self.blocks = np.full((len(members), len(self.commits), max(most, 1)), np.nan)
        self.measured: Booleans = np.array([[measured for _, measured in row] for row in cells])
        for k, row in enumerate(cells):
            for commit, (blocks, _) in enumerate(row):
                self.blocks[k, commit, : len(blocks)] = blocks
        self.usable: Booleans = np.isfinite(self.blocks).sum(axis=2) >= FEWEST_BLOCKS
        self.places = int(np.maximum(self.usable.sum(axis=1) - 1, 0).sum())
        self.tracked = members[0].tracked

    def fit(self, tests: int, restless: Array | None) -> Fit:
        """Find the steps of series with scatter, ``tests`` being the places for one in all groups.

        For times that were measured at other minutes than those that tell the machine's speed,
        ``restless`` says how much that varied at each commit.
        """
        timed = self.kind == TIME
        least = np.full(len(self.commits), scatter.PLAIN**2) if self.kind == PLAIN else restless
        sentinels = (k for k, each in enumerate(self.members) if timed and each.name.is_sentinel)
        paired = self.measured & self.tracked  # these stand in the order of the workers' visits
        return detect(self.blocks, timed, tests, paired, least, next(sentinels, None))

    def steps(self, fit: Fit, threshold: float) -> Iterator[Change]:
        """Yield the steps of a fit as changes."""
        for step in fit.steps:
            [*_, previous] = np.flatnonzero(self.usable[step.series, : step.commit])
            commits = self.commits[previous : step.commit + 1]
            levels = self._plain(fit.levels[step.series, [previous, step.commit]])
            ratios: tuple[float | None, ...] = (None, None, None)
            if self.kind != PLAIN:
                ratios = self._plain((step.change, step.low, step.high))
            yield self._change(self.members[step.series], commits, levels, ratios, threshold)

    def differences(self) -> Iterator[Change]:
        """Yield the changes of series without scatter: any difference is one."""
        if self.kind != EXACT:
            return
        for series in self.members:
            seen = [
                (place, cell.value)
                for place, commit in enumerate(self.commits)
                if (cell := series.seen_at(commit.hash)) is not None
            ]
            for (first, before), (place, after) in pairwise(seen):
                if after != before:
                    ratio = after / before if before > 0 and after > 0 else math.inf
                    ratios = (None if math.isinf(ratio) else ratio,) * 3
                    commits = self.commits[first : place + 1]
                    yield self._change(series, commits, (before, after), ratios, 0.0)

    def _change(
        self,
        series: BenchmarkSeries,
        commits: Sequence[Commit],
        levels: tuple[float, ...],
        ratios: tuple[float | None, ...],
        threshold: float,
    ) -> Change:
        """A change from the first to the last of some commits."""
        before, after = levels
        ratio, low, high = ratios
        between = sum(commit.between + 1 for commit in commits[1:]) - 1
        verdict = verdict_of(before, after, ratio, threshold)
        named = (commits[-1], commits[0], between, series.name, series.unit, self.kind, verdict)
        return Change(*named, before, after, ratio, low, high)

    def moved(self, fit: Fit) -> list[Moved]:
        """What the machine did to the times of each commit."""
        if self.kind != TIME:
            return []
        machine = self.members[0].name.machine
        return [
            Moved(self.commits[place], machine, _exp(fit.shift[place]))
            for place in np.flatnonzero(self.usable.any(axis=0))
        ]

    def tracks(self, fit: Fit | None) -> Iterator[Track]:
        """Yield what the figures need of each series."""
        for k, series in enumerate(self.members):
            cells = {
                place: cell
                for place, commit in enumerate(self.commits)
                if (cell := series.seen_at(commit.hash)) is not None
                and (fit is None or self.usable[k, place])
            }
            if not cells:
                continue
            places = list(cells)
            commits = tuple(self.commits[place] for place in places)
            if fit is None:
                measured = tuple(cell.value for cell in cells.values())
                samples = tuple(cell.samples for cell in cells.values())
                yield Track(series, commits, samples, measured, measured, measured)
                continue
            values, shift = fit.values[k, places], fit.shift[places]
            blocks = np.where(self.measured[k, places, None], self.blocks[k, places], np.nan)
            yield Track(
                series,
                commits,
                blocks=tuple(
                    self._plain(row[np.isfinite(row)]) for row in blocks - shift[:, None]
                ),
                values=self._plain(values),
                measured=self._plain(values + shift),
                levels=self._plain(fit.levels[k, places]),
            )

    def _plain(self, values: Iterable[float]) -> tuple[float, ...]:
        """Values as they were before logarithms were taken of them."""
        return tuple(float(v) if self.kind == PLAIN else _exp(v) for v in values)


def _block_values(cell: Measurement | None, kind: str) -> tuple[list[float], bool]:
    """Block medians on the scale on which they are judged, and whether they were measured so.

    Where asv has kept the quartiles alone, as many values with these quartiles stand for them.
    """
    if cell is None or cell.count < FEWEST_BLOCKS:
        return [], False
    middle, measured = cell.value, len(cell.samples) >= FEWEST_BLOCKS
    values = cell.samples if measured else cell.quartiles
    if values is None or not all(map(math.isfinite, values)):
        return [], False
    if kind != PLAIN:
        if min(middle, *values, *cell.samples) <= 0:
            return [], False
        middle, values = math.log(middle), tuple(map(math.log, values))
    if measured:
        return list(values), True
    spread = max(values[1] - values[0], 0.0) / _QUARTILES
    count = min(cell.count, 1000)
    return [middle + spread * float(ndtri((k + 0.5) / count)) for k in range(count)], False


def _exp(value: float) -> float:
    return math.exp(min(value, _LARGEST))


def _gaps(results: Results, judgement: Judgement) -> Iterator[Gap]:
    groups: dict[tuple[str, str], list[BenchmarkSeries]] = {}
    for series in results.series:
        if series.name not in judgement.unjudged:
            groups.setdefault((series.name.machine, series.name.environment), []).append(series)
    for commit in judgement.history.commits:
        if commit.hash not in judgement.judged:
            continue
        names: dict[tuple[str, bool], list[Name]] = {}
        for key, members in groups.items():
            if commit.hash not in results.measured.get(key, ()):
                continue
            reasons = [_reason(series, commit.hash) for series in members]
            whole = len(set(reasons) - {NOT_APPLICABLE}) == 1
            for series, reason in zip(members, reasons, strict=True):
                if reason not in (_HAS_DATA, NOT_APPLICABLE):
                    names.setdefault((reason, whole), []).append(series.name)
        for (reason, whole), without in names.items():
            yield Gap(commit, reason, tuple(without), whole)


def _reason(series: BenchmarkSeries, commit: str) -> str:
    """Why a series has no data at a commit, or that it has."""
    cell = series.cells.get(commit)
    if cell is None:
        return NOT_THERE
    if cell.status != OK:
        return NO_RESULT if cell.status == FAILED else NOT_APPLICABLE
    enough = series.kind == EXACT or len(_block_values(cell, series.kind)[0]) >= FEWEST_BLOCKS
    return _HAS_DATA if enough else TOO_FEW
