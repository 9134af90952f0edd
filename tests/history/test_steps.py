"""Levels of least cost, against trying them all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from paraformer_bench.history.detect import Sums, find_steps

COMMITS = 7


def cost(values: np.ndarray, variances: np.ndarray, cuts: tuple[int, ...], price: float) -> float:
    total = price * len(cuts)
    for start, end in zip((0, *cuts), (*cuts, len(values)), strict=True):
        seen = np.isfinite(values[start:end])
        if seen.any():
            v, w = values[start:end][seen], 1 / variances[start:end][seen]
            total += float((w * (v - np.average(v, weights=w)) ** 2).sum())
    return total


@pytest.mark.parametrize("seed", range(5))
def test_no_other_steps_cost_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = 100 + rng.normal(0, 1, (6, COMMITS)) + 4 * (rng.random((6, COMMITS)) < 0.3).cumsum(1)
    values[rng.random(values.shape) < 0.1] = np.nan
    variances = rng.uniform(0.5, 2, values.shape)
    prices = rng.uniform(2, 10, 6)
    found = find_steps(Sums(values, variances), prices)
    assert any(found)
    for row, v, price, cuts in zip(values, variances, prices, found, strict=True):
        every = (c for n in range(COMMITS) for c in combinations(range(1, COMMITS), n))
        least = min(cost(row, v, each, price) for each in every)
        assert cost(row, v, tuple(cuts), price) == pytest.approx(least)


def test_levels_are_weighted_means_of_their_stretch() -> None:
    values = np.array([[1.0, 3.0, np.nan, 10.0, 10.0]])
    sums = Sums(values, np.array([[1.0, 3.0, 1.0, 2.0, 2.0]]))
    means, counts = sums.levels([[3]])
    assert means[0] == pytest.approx([1.5, 1.5, 1.5, 10.0, 10.0])
    assert counts[0].tolist() == [2, 2, 2, 2, 2]
    level = sums.level(0, 0, 3)
    assert (level.mean, level.variance, level.count) == pytest.approx((1.5, 0.75, 2))
    assert sums.level(0, 2, 3).count == 0
