from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paraformer_bench.analysis.intervals import RESOLUTION, holm, means, welch


def test_holm_against_a_hand_example() -> None:
    # Sorted: 0.005*4, 0.01*3, 0.03*2, then 0.04*1 raised to the 0.06 before it.
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02], rtol=1e-12)


def test_holm_never_exceeds_one_and_skips_what_was_not_tested() -> None:
    adjusted = holm(np.array([np.nan, 0.5, 0.02, 0.9]))
    np.testing.assert_allclose(adjusted, [np.nan, 1.0, 0.06, 1.0])


def test_holm_of_nothing() -> None:
    assert holm(np.array([])).shape == (0,)
    assert np.isnan(holm(np.array([np.nan]))).all()


def test_means_agree_with_scipy_column_by_column_with_gaps() -> None:
    values = np.random.default_rng(1).normal(0.05, 0.1, (9, 3))
    values[[0, 4], 1] = np.nan
    got = means(values)
    low, high = got.bounds(0.95)
    for k in range(3):
        column = values[:, k][~np.isnan(values[:, k])]
        interval = stats.ttest_1samp(column, 0.0).confidence_interval(0.90)
        assert got.count[k] == len(column)
        assert (low[k], high[k]) == pytest.approx((interval.low, interval.high))
        greater = stats.ttest_1samp(column, 0.02, alternative="greater").pvalue
        less = stats.ttest_1samp(column, 0.02, alternative="less").pvalue
        assert got.p_above(0.02)[k] == pytest.approx(greater)
        assert got.p_below(0.02)[k] == pytest.approx(less)


def test_one_observation_has_a_mean_and_no_interval() -> None:
    got = means(np.array([[0.3, np.nan], [np.nan, np.nan]]))
    assert got.mean[0] == 0.3
    assert np.isnan(got.mean[1])
    assert np.isnan(got.error).all()
    assert np.isnan(got.bounds(0.95)).all()
    assert np.isnan(got.p_above(0.0)).all()


@pytest.mark.filterwarnings("error")
def test_observations_that_are_all_alike_give_a_point() -> None:
    got = means(np.full((4, 1), 0.2))
    low, high = got.bounds(0.95)
    assert low[0] < 0.2 < high[0]
    assert high[0] - low[0] < 10 * RESOLUTION
    assert got.p_above(0.1)[0] < 1e-12
    assert got.p_above(0.3)[0] > 1 - 1e-12


def test_welch_agrees_with_scipy() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 0.02, (7, 1)), rng.normal(0.03, 0.08, (5, 1))
    got = welch(means(a), means(b))
    reference = stats.ttest_ind(b[:, 0], a[:, 0], equal_var=False, alternative="greater")
    assert got.dof[0] == pytest.approx(reference.df)
    assert got.p_above(0.0)[0] == pytest.approx(reference.pvalue)
    two_sided = stats.ttest_ind(b[:, 0], a[:, 0], equal_var=False).confidence_interval(0.90)
    low, high = got.bounds(0.95)
    assert (low[0], high[0]) == pytest.approx((two_sided.low, two_sided.high))
