"""From results to changes: which benchmark changed at which commit, and which had no data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from paraformer_bench.analysis.intervals import Array
from paraformer_bench.regressions import scatter
from paraformer_bench.regressions.detect import Fit, Step, detect
from paraformer_bench.regressions.history import Commit, History
from paraformer_bench.regressions.kinds import (
    EXACT,
    PLAIN,
    RATIO,
    TIME,
    device_of,
    first_word,
    is_sentinel,
    kind_of,
)
from paraformer_bench.regressions.results import (
    FAILED,
    NOT_APPLICABLE,
    OK,
    Cell,
    Name,
    Results,
    Series,
)
from paraformer_bench.regressions.scatter import FEWEST_BLOCKS, Booleans
from paraformer_bench.regressions.sentinel import anchored

THRESHOLD = 0.05
"""Change that counts, if nothing else is said. Of exact values every change counts."""

REGRESSION, IMPROVEMENT, SMALL = "regression", "improvement", "below threshold"
NOT_THERE, NO_RESULT, TOO_FEW = "not measured", "failed", "too few samples"
_HAS_DATA = ""
_QUARTILES = 2 * 0.6745
"""Standard deviations of a normal variable between its quartiles."""


@dataclass(frozen=True)
class Change:
    """One benchmark changed at one commit.

    Attributes:
        commit: The first with the new level.
        previous: The last with the old one.
        between: Commits between the two, of the history or the results, that have no data.
        name: Of the benchmark.
        unit: Of ``before`` and ``after``.
        kind: `kinds.TIME`, `kinds.RATIO`, `kinds.PLAIN` or `kinds.EXACT`.
        verdict: `REGRESSION`, `IMPROVEMENT` or `SMALL`. Smaller is better.
        before: Old level, what the machine did taken out.
        after: New level, likewise.
        ratio: New level over old one; null where a level is not positive.
        low: Lower bound of the ratio, 95% two-sided; the ratio itself for exact values.
        high: Upper bound, likewise.
    """

    commit: Commit
    previous: Commit
    between: int
    name: Name
    unit: str
    kind: str
    verdict: str
    before: float
    after: float
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def size(self) -> float:
        """How important it is: the distance of the ratio from 1 on a logarithmic scale."""
        if self.ratio is not None and self.ratio > 0:
            return abs(math.log(self.ratio))
        return abs(_relative(self.before, self.after))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {
            "commit": self.commit.hash,
            "subject": self.commit.subject,
            "previous": self.previous.hash,
            "between": self.between,
            "machine": self.name.machine,
            "environment": self.name.environment,
            "benchmark": self.name.benchmark,
            "params": dict(self.name.params),
            "unit": self.unit,
            "kind": self.kind,
            "verdict": self.verdict,
            "before": self.before,
            "after": self.after,
            "ratio": self.ratio,
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class Gap:
    """Benchmarks without data at one commit.

    Attributes:
        commit: Where.
        reason: `NOT_THERE`, `NO_RESULT` or `TOO_FEW`.
        names: Which.
        whole: They are all benchmarks of the machine and environment.
    """

    commit: Commit
    reason: str
    names: tuple[Name, ...]
    whole: bool


@dataclass(frozen=True)
class Track:
    """One series as it was judged: what a figure shows.

    Attributes:
        series: The series.
        kind: Its kind.
        commits: Commits with data.
        blocks: Block medians of each, what the machine did taken out.
        values: Value of each commit, likewise.
        measured: The same with the machine left in.
        levels: Level at each commit.
    """

    series: Series
    kind: str
    commits: tuple[Commit, ...]
    blocks: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    measured: tuple[float, ...]
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Moved:
    """What the machine did to the times of one commit.

    Attributes:
        commit: The commit.
        machine: Name of the machine.
        environment: Of the environment.
        ratio: Its times over those of the median commit, in most benchmarks.
    """

    commit: Commit
    machine: str
    environment: str
    ratio: float


@dataclass
class Judgement:
    """What the history says.

    Attributes:
        history: The commits.
        judged: Hashes of those whose changes count.
        threshold: Change that counts.
        changes: By commit, oldest first; within one the largest first.
        gaps: What had no data at the judged commits.
        tracks: All series with data, in the order of the results.
        moved: What the machine did to each commit's times.
        unjudged: Benchmarks with values, and nowhere enough samples to know how they scatter.
        tests: Places for a change, over all series with scatter.
    """

    history: History
    judged: frozenset[str]
    threshold: float
    changes: list[Change] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    unjudged: list[Name] = field(default_factory=list)
    tests: int = 0

    @property
    def regressions(self) -> list[Change]:
        """Changes for the worse that count."""
        return [change for change in self.changes if change.verdict == REGRESSION]


def judge(
    results: Results, history: History, judged: frozenset[str], threshold: float = THRESHOLD
) -> Judgement:
    """Find every change in the history of every benchmark.

    The whole history is looked at, and the chance of a false alarm is bounded over all of it;
    ``judged`` says of which commits the changes are told.
    """
    judgement = Judgement(history, judged, threshold)
    panels: dict[tuple[str, ...], list[Series]] = {}
    kinds = {series.name: kind_of(series) for series in results.series}
    for series in results.series:
        panels.setdefault(_panel(series, kinds[series.name]), []).append(series)
    known = {key: _Panel(key[0], members, history) for key, members in panels.items()}
    scattering = [panel for panel in known.values() if panel.kind != EXACT]
    judgement.tests = sum(panel.places for panel in scattering)
    restless = {
        key[1:4]: panel.restlessness()
        for key, panel in known.items()
        if panel.kind == TIME and panel.members[0].tracked
    }
    for key, panel in known.items():
        if panel.kind == EXACT:
            panel.follow(judgement)
        elif panel.places:
            apart = panel.kind == TIME and not panel.members[0].tracked
            panel.fit(judgement, restless.get(key[1:4]) if apart else None)
        else:
            panel.show(judgement, None)
    order = {series.name: place for place, series in enumerate(results.series)}
    places = {commit.hash: place for place, commit in enumerate(history.commits)}
    judgement.tracks.sort(key=lambda track: order[track.series.name])
    judgement.changes.sort(key=lambda c: (places[c.commit.hash], -c.size, order[c.name]))
    judgement.unjudged = [
        series.name for panel in scattering for series in panel.without_scatter()
    ]
    judgement.gaps = list(_gaps(results, history, kinds, judgement))
    return judgement


def _panel(series: Series, kind: str) -> tuple[str, ...]:
    """What must be equal for series to be judged together."""
    shared = (kind, series.name.machine, series.name.environment)
    if kind == TIME:  # of a GPU and of a CPU one can be slow without the other
        apart = "" if series.tracked else "apart"  # at another minute than all others
        return (*shared, device_of(series.name), apart)
    return (*shared, first_word(series.unit))


class _Panel:
    """Series that are judged together, as arrays."""

    def __init__(self, kind: str, members: Sequence[Series], history: History) -> None:
        self.kind = kind
        self.members = members
        self.commits = history.commits
        self.judged_in_logs = kind in (TIME, RATIO)
        held = [[_held(s.cells.get(c.hash), kind) for c in self.commits] for s in members]
        most = max((len(blocks) for row in held for blocks, _ in row), default=0)
        self.blocks = np.full((len(members), len(self.commits), max(most, 1)), np.nan)
        self.measured = np.zeros(self.blocks.shape[:2], dtype=np.bool_)
        for k, row in enumerate(held):
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
                Moved(commit, name.machine, name.environment, math.exp(shift))
                for commit, shift, some in zip(self.commits, fit.shift, together, strict=True)
                if some
            ]

    def _change(self, step: Step, threshold: float) -> Change:
        series = self.members[step.series]
        seen = np.flatnonzero(self.usable[step.series, : step.commit])
        before, after = self._plain(step.before), self._plain(step.after)
        ratio = low = high = None
        if self.judged_in_logs:
            ratio, low, high = (math.exp(value) for value in (step.change, step.low, step.high))
        return Change(
            self.commits[step.commit],
            self.commits[int(seen[-1])],
            _between(self.commits[int(seen[-1]) + 1 : step.commit + 1]),
            series.name,
            series.unit,
            self.kind,
            _verdict(before, after, ratio, threshold),
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
        return math.exp(value) if self.judged_in_logs else float(value)


def _held(cell: Cell | None, kind: str) -> tuple[list[float], bool]:
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
    verdict = _verdict(before, after, ratio, 0.0)
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


def _verdict(before: float, after: float, ratio: float | None, threshold: float) -> str:
    if ratio is not None:
        above, below = ratio > 1 + threshold, ratio < 1 / (1 + threshold)
    else:
        change = _relative(before, after)
        above, below = change > threshold, change < -threshold
    return REGRESSION if above else IMPROVEMENT if below else SMALL


def _relative(before: float, after: float) -> float:
    """Change of a value that can be zero: a share of the old one, or as it is if that is small."""
    return (after - before) / max(abs(before), 1.0)


def _gaps(
    results: Results, history: History, kinds: Mapping[Name, str], judgement: Judgement
) -> Iterable[Gap]:
    groups: dict[tuple[str, str], list[Series]] = {}
    skipped = set(judgement.unjudged)
    for series in results.series:
        if series.name not in skipped:
            groups.setdefault((series.name.machine, series.name.environment), []).append(series)
    for commit in history.commits:
        if commit.hash not in judgement.judged:
            continue
        found: dict[tuple[str, bool], list[Name]] = {}
        for key, members in groups.items():
            if commit.hash not in results.measured.get(key, ()):
                continue
            reasons = {s.name: _reason(s.cells.get(commit.hash), kinds[s.name]) for s in members}
            whole = len(set(reasons.values()) - {NOT_APPLICABLE}) == 1
            for name, reason in reasons.items():
                if reason not in (_HAS_DATA, NOT_APPLICABLE):
                    found.setdefault((reason, whole), []).append(name)
        for (reason, whole), names in found.items():
            yield Gap(commit, reason, tuple(names), whole)


def _reason(cell: Cell | None, kind: str) -> str:
    """Why a series has no data at a commit, or that it has."""
    if cell is None:
        return NOT_THERE
    if cell.status != OK:
        return NO_RESULT if cell.status == FAILED else NOT_APPLICABLE
    enough = kind == EXACT or len(_held(cell, kind)[0]) >= FEWEST_BLOCKS
    return _HAS_DATA if enough else TOO_FEW
