"""Which series of a group changed at which commit, beyond what chance and the machine explain.

The model: the logarithm of a value is a level of its series, which steps at few commits, plus what
the machine did to all series of the commit alike, plus scatter. `scatter` says how large that is,
`find_steps` finds the levels; here they take turns until nothing moves any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.special import bdtrc

from paraformer_bench.analysis.intervals import Array, t_quantile
from paraformer_bench.history import scatter
from paraformer_bench.history.scatter import Booleans

FALSE_ALARMS = 0.001
"""Chance that a history without any change is called one with, over all series and commits."""
CONFIDENCE = 0.95
"""Of the interval around the size of a change; two-sided."""
_ROUNDS = 5
_POLISHES = 3
_HINT = 0.003
"""One-sided p-value of a step that counts only in company: 2.75 standard errors."""
_COMPANY = 3
"""Fewest series that must step the same way at a commit for hints to count."""
_NEARLY = 9.0
"""A step moves to a commit at which more series changed if it fits there nearly as well: three
standard errors."""
_NO_WEIGHT = 1e-300


@dataclass(frozen=True)
class LevelStep:
    """A series (row) changed at a commit (column), the first with the new level.

    The change is the new level minus the old one, in logarithms where the blocks are.
    """

    series: int
    commit: int
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """What the series of a group do.

    Attributes:
        values: Trimmed means of the blocks, what the machine did taken out: series x commits.
        shift: What the machine did at each commit, 0 where it is not known.
        levels: Of each series at each commit.
    """

    steps: list[LevelStep]
    values: Array
    shift: Array
    levels: Array


def detect(
    blocks: Array,
    timed: bool,
    tests: int,
    paired: Booleans | bool = True,
    least: Array | None = None,
    sentinel: int | None = None,
) -> Fit:
    """Find the steps of series that are judged together.

    Args:
        blocks: Block medians, or their logarithms: series x commits x blocks, NaN for missing.
        timed: They are times, on one machine: what moves most of them is the machine.
        tests: How many places for a step there are in all groups that are judged.
        paired: Where blocks of times stand in the order in which they were measured: series x
            commits.
        least: Variance from run to run that there is at least, one a commit.
        sentinel: Row of a time that never changes, if there is one.
    """
    if timed:
        blocks = scatter.same_blocks(blocks, paired)
    raw, error, dof = scatter.trimmed(blocks)
    commits = np.flatnonzero(np.isfinite(raw).any(axis=0))
    values = raw[:, commits]
    variances, series_dof = scatter.steadied(error[:, commits], dof[:, commits])
    together = timed & (np.isfinite(values).sum(axis=0) >= scatter.FEWEST_TOGETHER)
    cuts: list[list[int]] = [[] for _ in values]
    shift = _polished(values, variances, cuts, np.zeros(len(commits)), together)
    own, own_dof = scatter.run_scatter(values - shift, variances, together)
    known_dof = scatter.joined_dof(variances, series_dof, own, own_dof)
    if timed:
        calm = None if sentinel is None else values[sentinel]
        own = np.where(together, own, np.maximum(own, scatter.ALONE**2))
        own = own + scatter.unevenness(shift, calm)
    variances = variances + np.maximum(own, 0.0 if least is None else least[commits])
    critical = t_quantile(1 - FALSE_ALARMS / (2 * max(tests, 1)), known_dof)
    hint = t_quantile(1 - _HINT, known_dof)
    for _ in range(_ROUNDS):
        shift = _polished(values, variances, cuts, shift, together)
        sums = Sums(values - shift, variances)
        before, cuts = cuts, _sure(sums, np.isfinite(values), critical, hint)
        if cuts == before:
            break
    cuts = _agreed(sums, cuts, hint)
    half = t_quantile((1 + CONFIDENCE) / 2, known_dof).tolist()
    steps = []
    for series, own_cuts in enumerate(cuts):
        for cut, left, right in sums.sides(series, own_cuts):
            change = right.mean - left.mean
            reach = half[series] * (left.variance + right.variance) ** 0.5
            place = int(commits[cut])
            steps.append(LevelStep(series, place, change, change - reach, change + reach))
    every_level, every_shift = np.full(raw.shape, np.nan), np.zeros(raw.shape[1])
    every_level[:, commits], every_shift[commits] = sums.levels(cuts)[0], shift
    fit = Fit(steps, raw - every_shift, every_shift, every_level)
    return fit if sentinel is None else _anchored(fit, sentinel)


def _polished(
    values: Array, variances: Array, cuts: list[list[int]], shift: Array, together: Array
) -> Array:
    """What the machine did at each commit, given where the levels change: medians in turns."""
    if not together.any():
        return shift
    for _ in range(_POLISHES):
        levels, counts = Sums(values - shift, variances).levels(cuts)
        shift = shift + scatter.common_shift(values - shift, levels, counts) * together
    return np.asarray(shift - scatter.median(shift[together], 0) * together, dtype=np.float64)


def _sure(sums: Sums, seen: Booleans, critical: Array, hint: Array) -> list[list[int]]:
    """Steps that are sure by themselves, and such as are sure because others step with them."""
    prices = critical, hint
    sure, hints = (_agreed(sums, find_steps(sums, price**2), price) for price in prices)
    members: dict[tuple[int, bool], list[int]] = {}
    for series, cuts in enumerate(hints):
        for cut, left, right in sums.sides(series, cuts):
            members.setdefault((cut, right.mean > left.mean), []).append(series)
    needed = _needed(int((seen.sum(axis=1) > 1).sum()), sums.commits)
    for (cut, _), rows in members.items():
        for series in rows if len(rows) >= needed else ():
            cuts = sorted({*sure[series], cut})
            gains = (_gain(sums, cuts, series, k, c) for k, c in enumerate(cuts))
            if min(gains) > hint[series] ** 2:
                sure[series] = cuts
    return sure


def _needed(series: int, commits: int) -> int:
    """How many series must step the same way at one commit so that chance is no explanation.

    Of independent series without a change, so many go beyond the hint's p-value at any commit and
    in any direction with a probability of at most `FALSE_ALARMS`.
    """
    for count in range(_COMPANY, series + 1):
        if 2 * (commits - 1) * bdtrc(count - 1, series, _HINT) <= FALSE_ALARMS:
            return count
    return series + 1


def _agreed(sums: Sums, cuts: list[list[int]], critical: Array) -> list[list[int]]:
    """Let series that changed at nearly the same commit agree on one.

    One commit is the cause of most changes that lie close together, and all of their series know
    more of its place than each alone. A step moves only if its own series hardly objects, and
    stays where the data of its series are.
    """
    free = {(series, k) for series, own in enumerate(cuts) for k in range(len(own))}
    cuts = [list(own) for own in cuts]
    while free:
        movers: list[tuple[int, int]] = []
        most, target = 0.0, 0
        for place in sorted({cuts[series][k] for series, k in free}):
            total, members = 0.0, []
            for series, k in sorted(free):
                gain = _gain(sums, cuts[series], series, k, place)
                loss = _gain(sums, cuts[series], series, k, cuts[series][k]) - gain
                if loss < _NEARLY and gain > critical[series] ** 2:
                    total += gain
                    members.append((series, k))
            if total > most:
                most, target, movers = total, place, members
        if not movers:
            break
        for series, k in movers:
            cuts[series][k] = target
        free -= set(movers)
    return cuts


def _gain(sums: Sums, cuts: list[int], series: int, k: int, place: int) -> float:
    """By how much a step of a series at ``place``, in place of its k-th, lowers the cost."""
    start, _, end = (0, *cuts, sums.commits)[k : k + 3]
    if not start < place < end:
        return -np.inf
    left, right = sums.level(series, start, place), sums.level(series, place, end)
    if not left.count or not right.count:
        return -np.inf
    return (right.mean - left.mean) ** 2 / (left.variance + right.variance)


def _anchored(fit: Fit, sentinel: int) -> Fit:
    """Turn each step of the sentinel, a row of times, into steps of all others.

    What most series have in common is taken for the machine. If that were the code, the sentinel,
    which never changes, would seem to step the other way. So where it does, most of the others
    are what changed, and by as much as it seems to have.
    """
    steps = [step for step in fit.steps if step.series != sentinel]
    values, levels, shift = fit.values.copy(), fit.levels.copy(), fit.shift.copy()
    seen = np.isfinite(values)
    for seeming in (step for step in fit.steps if step.series == sentinel):
        commit = seeming.commit
        values[:, commit:] -= seeming.change
        levels[:, commit:] -= seeming.change
        shift[commit:] += seeming.change
        own = {step.series: step for step in steps if step.commit == commit}
        steps = [step for step in steps if step.commit != commit]
        on_both_sides = seen[:, :commit].any(axis=1) & seen[:, commit:].any(axis=1)
        on_both_sides &= np.arange(len(seen)) != sentinel
        for series in np.flatnonzero(on_both_sides).tolist():
            first = commit + int(seen[series, commit:].argmax())
            step = own.get(series) or LevelStep(series, first, 0.0, 0.0, 0.0)
            change = step.change - seeming.change
            low, high = step.low - seeming.high, step.high - seeming.low
            steps.append(replace(step, change=change, low=low, high=high))
    return Fit(steps, values, shift - np.median(shift), levels)


class Sums:
    """Weighted sums over any stretch of commits; values that are NaN have no weight.

    A series is taken to be constant but for a few steps. Its best levels are those of least cost:
    the squared distances of the values from their levels, each over its variance, plus a penalty
    for every step. Values and their variances are series x commits.
    """

    def __init__(self, values: Array, variances: Array) -> None:
        seen = np.isfinite(values) & np.isfinite(variances)
        weights = np.where(seen, 1 / np.where(seen, variances, 1.0), 0.0)
        filled = np.where(seen, values, 0.0)
        self.commits = values.shape[1]
        # Squares of values far from zero would lose their digits.
        self._centre = filled.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        centred = np.where(seen, filled - self._centre[:, None], 0.0)
        moments = np.stack([seen, weights, weights * centred, weights * centred**2])
        start = np.zeros((*moments.shape[:2], 1))
        self._sums = np.concatenate([start, moments.cumsum(axis=2)], axis=2)

    def costs(self, end: int) -> Array:
        """Cost of one level from each commit up to before ``end``: series x starts."""
        weight, first, second = self._sums[1:, :, end, None] - self._sums[1:, :, :end]
        return np.asarray(second - first**2 / np.maximum(weight, _NO_WEIGHT), dtype=np.float64)

    def levels(self, steps: list[list[int]]) -> tuple[Array, Array]:
        """Return level and number of values behind it, each as series x commits."""
        means, counts = np.empty((2, len(steps), self.commits))
        for series, cuts in enumerate(steps):
            for start, end in pairwise((0, *cuts, self.commits)):
                level = self.level(series, start, end)
                means[series, start:end], counts[series, start:end] = level.mean, level.count
        return means, counts

    def level(self, series: int, start: int, end: int) -> Level:
        """Return the level of one series over one stretch."""
        moments = self._sums[:3, series, end] - self._sums[:3, series, start]
        count, weight, first = moments.tolist()
        if not count:
            return Level(np.nan, np.inf, 0)
        return Level(first / weight + float(self._centre[series]), 1 / weight, int(count))

    def sides(self, series: int, cuts: list[int]) -> Iterator[tuple[int, Level, Level]]:
        """Yield each cut of a series with the levels before and after it."""
        levels = [self.level(series, *pair) for pair in pairwise((0, *cuts, self.commits))]
        for cut, (left, right) in zip(cuts, pairwise(levels), strict=True):
            yield cut, left, right


@dataclass(frozen=True)
class Level:
    """The weighted mean of so many values, NaN if it has none, and the variance of that mean."""

    mean: float
    variance: float
    count: int


def find_steps(sums: Sums, penalties: Array) -> list[list[int]]:
    """Return, for each series, the commits at which a new level begins, ascending.

    Dynamic programming finds the levels of least cost exactly (B. Jackson et al., An algorithm for
    optimal partitioning of data on an interval, IEEE Signal Processing Letters 12, 2005). Leaving
    out one step would cost more than the penalty, so every step is, by itself, a difference of two
    neighbouring means of at least the square root of the penalty in standard errors. There is one
    penalty a series.
    """
    best = np.empty((len(penalties), sums.commits + 1))
    best[:, 0] = -penalties
    cuts = np.zeros(best.shape, dtype=np.intp)
    for end in range(1, sums.commits + 1):
        candidates = best[:, :end] + sums.costs(end)
        # The last of equals: where there is a value, after commits without any.
        cuts[:, end] = end - 1 - candidates[:, ::-1].argmin(axis=1)
        best[:, end] = candidates.min(axis=1) + penalties
    steps: list[list[int]] = [[] for _ in penalties]
    for own, row in zip(steps, cuts.tolist(), strict=True):
        end = row[-1]
        while end > 0:
            own.insert(0, end)
            end = row[end]
    return steps
