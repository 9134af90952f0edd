"""The interval that decides when to stop: by hand, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from paraformer_bench.instrument.sampler import relative_half_width

Samples = NDArray[np.float64]


def by_hand(samples: list[float], batches: int) -> float:
    medians = [median(batch) for batch in np.array_split(samples, batches)]
    half = stats.t.ppf(0.975, batches - 1) * stats.sem(medians)
    return float(half / np.mean(medians))


@pytest.mark.parametrize("samples", [[], [1.0], [1.0, 1.0]])
def test_two_samples_say_nothing(samples: list[float]) -> None:
    assert relative_half_width(samples) == math.inf


def test_three_samples_are_three_batches() -> None:
    # t = 4.303 on 2 degrees of freedom, s = 1, mean 2.
    assert relative_half_width([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3) / 2)


@pytest.mark.parametrize(
    ("size", "batches"), [(3, 3), (7, 3), (8, 4), (11, 5), (18, 9), (20, 10), (500, 10)]
)
def test_it_equals_scipy_on_batches_made_by_hand(size: int, batches: int) -> None:
    # Sizes that do not divide evenly are split by a rule of our own, so only multiples here.
    size -= size % batches
    samples = list(np.random.default_rng(size).lognormal(0, 0.2, size))
    assert relative_half_width(samples) == pytest.approx(by_hand(samples, batches), rel=1e-3)


def test_it_is_relative() -> None:
    samples = list(np.random.default_rng(1).lognormal(0, 0.2, 100))
    assert relative_half_width([1e-6 * x for x in samples]) == pytest.approx(
        relative_half_width(samples)
    )


def test_equal_samples_have_no_width() -> None:
    assert relative_half_width([0.25] * 30) == 0


def test_an_outlier_hardly_widens_it() -> None:
    samples = list(np.random.default_rng(2).normal(1, 0.01, 100))
    assert relative_half_width([*samples[:50], 100.0, *samples[51:]]) < 1.5 * relative_half_width(
        samples
    )


def autoregressive(rng: np.random.Generator, size: int, phi: float) -> Samples:
    """Deviations whose neighbours correlate by ``phi``, of standard deviation 1."""
    series = np.empty(size)
    series[0] = rng.normal()
    for i, step in enumerate(rng.normal(0, math.sqrt(1 - phi**2), size - 1)):
        series[i + 1] = phi * series[i] + step
    return series


def test_correlated_samples_have_a_wider_interval_than_the_same_ones_shuffled() -> None:
    rng = np.random.default_rng(3)
    wider = 0
    for _ in range(40):
        samples = 1 + 0.05 * autoregressive(rng, 200, 0.9)
        wider += relative_half_width(list(samples)) > 1.5 * relative_half_width(
            list(rng.permutation(samples))
        )
    assert wider >= 36


def coverage(draw: Callable[[], Samples], truth: float, runs: int = 800) -> float:
    hits = 0
    for _ in range(runs):
        samples = list(draw())
        # The centre that belongs to this half-width: the mean of the batch medians.
        count = min(10, max(3, len(samples) // 2))
        edges = [len(samples) * i // count for i in range(count + 1)]
        centre = np.mean([median(samples[a:b]) for a, b in pairwise(edges)])
        hits += abs(centre - truth) <= relative_half_width(samples) * centre
    return hits / runs


@pytest.mark.parametrize("size", [6, 30, 100])
def test_the_interval_covers_the_median_as_often_as_it_says(size: int) -> None:
    """800 runs: the standard error of a coverage of 95% is 0.8%."""
    rng = np.random.default_rng(size)
    assert 0.925 < coverage(lambda: rng.normal(1, 0.05, size), 1.0) < 0.975


def test_long_tails_are_covered_nearly_as_often() -> None:
    rng = np.random.default_rng(5)
    assert coverage(lambda: rng.lognormal(0, 0.3, 100), 1.0) > 0.92


def test_weakly_correlated_samples_are_covered_nearly_as_often() -> None:
    rng = np.random.default_rng(6)
    assert coverage(lambda: 1 + 0.05 * autoregressive(rng, 300, 0.5), 1.0) > 0.92
