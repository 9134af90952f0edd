"""Levels of many series at once: where each has its steps, and how high they are.

A series is taken to be constant but for a few steps. Its best levels are those of least cost: the
squared distances of the values from their levels, each over its variance, plus a penalty for every
step. Dynamic programming finds them exactly (B. Jackson et al., An algorithm for optimal
partitioning of data on an interval, IEEE Signal Processing Letters 12, 2005). Leaving out one step
would then cost more than the penalty, so every step that is found is, by itself, a difference of
two neighbouring means of at least the square root of the penalty in standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paraformer_bench.analysis.intervals import Array

_NO_WEIGHT = 1e-300


class Sums:
    """Weighted sums over any stretch of commits; values that are NaN have no weight.

    Args:
        values: Series x commits.
        variances: Of each value.
    """

    def __init__(self, values: Array, variances: Array) -> None:
        seen = np.isfinite(values) & np.isfinite(variances)
        weights = np.where(seen, 1 / np.where(seen, variances, 1.0), 0.0)
        filled = np.where(seen, values, 0.0)
        # Squares of values far from zero would lose their digits.
        self._centre = filled.sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        centred = np.where(seen, filled - self._centre[:, None], 0.0)
        moments = np.stack([seen, weights, weights * centred, weights * centred**2])
        start = np.zeros((*moments.shape[:2], 1))
        self._levels: dict[tuple[int, int, int], Level] = {}
        self._sums = np.concatenate([start, moments.cumsum(axis=2)], axis=2)

    def costs(self, end: int) -> Array:
        """Cost of one level from each commit up to before ``end``: series x starts."""
        weight, first, second = self._sums[1:, :, end, None] - self._sums[1:, :, :end]
        return np.asarray(second - first**2 / np.maximum(weight, _NO_WEIGHT), dtype=np.float64)

    def levels(self, steps: list[list[int]]) -> tuple[Array, Array]:
        """Return level and number of values behind it, each as series x commits."""
        commits = self._sums.shape[2] - 1
        start = np.zeros((len(steps), commits), dtype=np.intp)
        end = np.full_like(start, commits)
        for series, cuts in enumerate(steps):
            for cut in cuts:
                start[series, cut:] = cut
            for cut in reversed(cuts):
                end[series, :cut] = cut
        count, weight, first, _ = np.take_along_axis(self._sums, end[None], 2)
        count_before, weight_before, first_before, _ = np.take_along_axis(
            self._sums, start[None], 2
        )
        count, weight = count - count_before, weight - weight_before
        mean = (first - first_before) / np.maximum(weight, _NO_WEIGHT) + self._centre[:, None]
        return np.where(count > 0, mean, np.nan), count

    def level(self, series: int, start: int, end: int) -> Level:
        """Return the level of one series over one stretch."""
        known = self._levels.get((series, start, end))
        if known is None:
            moments = self._sums[:3, series, end] - self._sums[:3, series, start]
            count, weight, first = moments.tolist()
            known = Level(np.nan, np.inf, 0)
            if count:
                mean = first / weight + float(self._centre[series])
                known = Level(mean, 1 / weight, int(count))
            self._levels[series, start, end] = known
        return known


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        mean: Weighted mean of its values; NaN if it has none.
        variance: Of the mean.
        count: Values behind it.
    """

    mean: float
    variance: float
    count: int


def find_steps(sums: Sums, penalties: Array, commits: int) -> list[list[int]]:
    """Return, for each series, the commits at which a new level begins, ascending.

    Args:
        sums: Of the series.
        penalties: Cost of a step, one a series.
        commits: How many there are.
    """
    best = np.empty((len(penalties), commits + 1))
    best[:, 0] = -penalties
    cuts = np.zeros((len(penalties), commits + 1), dtype=np.intp)
    rows = np.arange(len(penalties))
    for end in range(1, commits + 1):
        candidates = best[:, :end] + sums.costs(end)
        cut = candidates.argmin(axis=1)
        cuts[:, end] = cut
        best[:, end] = candidates[rows, cut] + penalties
    found: list[list[int]] = [[] for _ in penalties]
    for series in np.flatnonzero(cuts[:, commits]):
        end = int(cuts[series, commits])
        while end > 0:
            found[series].insert(0, end)
            end = int(cuts[series, end])
    return found
