"""Which series of a panel changed at which commit, beyond what chance and the machine explain.

The model: the logarithm of a value is a level of its series, which steps at few commits, plus what
the machine did to all series of the commit alike, plus scatter. `scatter` says how large that is,
`steps` finds the levels; here they take turns until nothing moves any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import bdtrc

from paraformer_bench.analysis.intervals import Array, t_quantile
from paraformer_bench.history import scatter
from paraformer_bench.history.scatter import Booleans
from paraformer_bench.history.steps import Level, Sums, find_steps

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


@dataclass(frozen=True)
class Step:
    """One series changed at one commit.

    Attributes:
        series: Row of the panel.
        commit: Column of the panel: the first with the new level.
        change: New level minus old one, in logarithms where the panel is.
        low: Lower bound of ``change``.
        high: Upper bound.
        before: Old level.
        after: New level.
    """

    series: int
    commit: int
    change: float
    low: float
    high: float
    before: float
    after: float


@dataclass(frozen=True)
class Fit:
    """What was found in a panel.

    Attributes:
        steps: By commit, then by series.
        values: Trimmed means of the blocks, what the machine did taken out: series x commits.
        variances: Of each of them.
        shift: What the machine did at each commit, 0 where it is not known.
        levels: Of each series at each commit.
    """

    steps: list[Step]
    values: Array
    variances: Array
    shift: Array
    levels: Array


def detect(
    blocks: Array,
    timed: bool,
    tests: int,
    paired: Booleans | None = None,
    least: Array | None = None,
    sentinel: int | None = None,
) -> Fit:
    """Find the steps in a panel of series.

    Args:
        blocks: Block medians, or their logarithms: series x commits x blocks, NaN for missing.
        timed: They are times, on one machine: what moves most of them is the machine.
        tests: How many places for a step there are in all panels that are judged together.
        paired: Where blocks of times stand in the order in which they were measured: series x
            commits; everywhere if null.
        sentinel: Row of a time that never changes, if there is one.
        least: Variance from run to run that there is at least, one a commit.
    """
    if timed:
        everywhere = np.ones(blocks.shape[:2], dtype=np.bool_)
        blocks = scatter.same_blocks(blocks, everywhere if paired is None else paired)
    raw, error, dof = scatter.trimmed(blocks)
    commits = np.flatnonzero(np.isfinite(raw).any(axis=0))
    values = raw[:, commits]
    variances, series_dof = scatter.steadied(error[:, commits], dof[:, commits])
    together = timed & (np.isfinite(values).sum(axis=0) >= scatter.FEWEST_TOGETHER)
    none: list[list[int]] = [[] for _ in values]
    shift = _polished(values, variances, none, np.zeros(len(commits)), together)
    fewest = scatter.FEWEST_TOGETHER if together.any() else 1
    gaps = scatter.gaps(values - shift, variances, fewest)
    own = np.where(together, scatter.own_scatter(gaps), scatter.usual_scatter(gaps))
    known = scatter.joined_dof(variances, series_dof, own, gaps.dof)
    if timed:
        calm = None if sentinel is None else values[sentinel]
        own = np.where(together, own, np.maximum(own, scatter.ALONE**2))
        own = own + scatter.unevenness(shift, calm)
    variances = variances + np.maximum(own, 0.0 if least is None else least[commits])
    critical = t_quantile(1 - FALSE_ALARMS / (2 * max(tests, 1)), known)
    hint = t_quantile(1 - _HINT, known)
    found = none
    for _ in range(_ROUNDS):
        shift = _polished(values, variances, found, shift, together)
        sums = Sums(values - shift, variances)
        before, found = found, _found(sums, values, critical, hint)
        if found == before:
            break
    found = _agreed(sums, found, hint, len(commits))
    half = t_quantile((1 + CONFIDENCE) / 2, known)
    steps = [
        step
        for series, cuts in enumerate(found)
        for step in _steps(sums, series, cuts, float(half[series]), commits.tolist())
    ]
    levels = np.full(raw.shape, np.nan)
    levels[:, commits] = sums.levels(found)[0]
    every_shift, every_variance = np.zeros(raw.shape[1]), np.full(raw.shape, np.nan)
    every_shift[commits] = shift
    every_variance[:, commits] = variances
    steps.sort(key=lambda step: (step.commit, step.series))
    return Fit(steps, raw - every_shift, every_variance, every_shift, levels)


def _polished(
    values: Array, variances: Array, steps: list[list[int]], shift: Array, together: Array
) -> Array:
    """What the machine did at each commit, given where the levels change: medians in turns."""
    if not together.any():
        return shift
    for _ in range(_POLISHES):
        levels, counts = Sums(values - shift, variances).levels(steps)
        shift = shift + scatter.common_shift(values - shift, levels, counts) * together
    return np.asarray(shift - scatter.median(shift[together], 0) * together, dtype=np.float64)


def _found(sums: Sums, values: Array, critical: Array, hint: Array) -> list[list[int]]:
    """Steps that are sure by themselves, and such as are sure because others step with them."""
    commits = values.shape[1]
    seen = np.isfinite(values)

    def steps(price: Array) -> list[list[int]]:
        cuts = find_steps(sums, price**2, commits)
        moved = [_with_data(each, row) for each, row in zip(cuts, seen, strict=True)]
        return _agreed(sums, moved, price, commits)

    sure, hints = steps(critical), steps(hint)
    members: dict[tuple[int, bool], list[int]] = {}
    for series, cuts in enumerate(hints):
        ends = [0, *cuts, commits]
        for k, cut in enumerate(cuts):
            left, right = (sums.level(series, *ends[k + j : k + j + 2]) for j in (0, 1))
            up = right.mean > left.mean
            members.setdefault((cut, up), []).append(series)
    needed = _needed(int((seen.sum(axis=1) > 1).sum()), commits)
    for (cut, _), rows in members.items():
        for series in rows if len(rows) >= needed else ():
            cuts = sorted({*sure[series], cut})
            gains = [_gain(sums, cuts, series, k, c, commits) for k, c in enumerate(cuts)]
            if min(gains) > hint[series] ** 2:
                sure[series] = cuts
    return sure


def _needed(series: int, commits: int) -> int:
    """How many series must step the same way at one commit so that chance is no explanation.

    Of independent series without a change, so many go beyond the hint's p-value at any commit and
    in any direction with a probability of at most `FALSE_ALARMS`.
    """
    counts = range(_COMPANY, series + 1)
    chances = (2 * (commits - 1) * bdtrc(count - 1, series, _HINT) for count in counts)
    return next(
        (count for count, p in zip(counts, chances, strict=True) if p <= FALSE_ALARMS), series + 1
    )


def _with_data(cuts: list[int], seen: Array) -> list[int]:
    """Move each step to the first commit from there on that has a value."""
    places = np.flatnonzero(seen)
    return [int(places[np.searchsorted(places, cut)]) for cut in cuts]


def _agreed(sums: Sums, found: list[list[int]], critical: Array, commits: int) -> list[list[int]]:
    """Let series that changed at nearly the same commit agree on one.

    One commit is the cause of most changes that lie close together, and all of their series know
    more of its place than each alone. A step moves only if its own series hardly objects, and
    stays where the data of its series are.
    """
    free = {(series, k) for series, cuts in enumerate(found) for k in range(len(cuts))}
    cuts = [list(each) for each in found]
    while free:
        gains: dict[int, float] = {}
        members: dict[int, list[tuple[int, int]]] = {}
        for place in sorted({cuts[series][k] for series, k in free}):
            gains[place] = 0.0
            members[place] = []
            for series, k in sorted(free):
                gain = _gain(sums, cuts[series], series, k, place, commits)
                loss = _gain(sums, cuts[series], series, k, cuts[series][k], commits) - gain
                if loss < _NEARLY and gain > critical[series] ** 2:
                    gains[place] += gain
                    members[place].append((series, k))
        best = max(gains, key=lambda place: gains[place])
        for series, k in members[best]:
            cuts[series][k] = best
        still = free - set(members[best])
        if still == free:
            break
        free = still
    return cuts


def _gain(sums: Sums, cuts: list[int], series: int, k: int, place: int, commits: int) -> float:
    """By how much a step of a series at ``place``, in place of its k-th, lowers the cost."""
    start = cuts[k - 1] if k else 0
    end = cuts[k + 1] if k + 1 < len(cuts) else commits
    if not start < place < end:
        return -np.inf
    left, right = sums.level(series, start, place), sums.level(series, place, end)
    if not left.count or not right.count:
        return -np.inf
    return (right.mean - left.mean) ** 2 / (left.variance + right.variance)


def _steps(
    sums: Sums, series: int, cuts: list[int], half: float, commits: list[int]
) -> list[Step]:
    ends = [0, *cuts, len(commits)]
    levels = [sums.level(series, *pair) for pair in pairwise(ends)]
    return [
        _step(series, commits[cut], left, right, half)
        for cut, left, right in zip(cuts, levels, levels[1:], strict=False)
    ]


def _step(series: int, commit: int, left: Level, right: Level, half: float) -> Step:
    change = right.mean - left.mean
    reach = half * (left.variance + right.variance) ** 0.5
    return Step(series, commit, change, change - reach, change + reach, left.mean, right.mean)
