"""Variances that help each other, against truths and the paper's own limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import polygamma

from paraformer_bench.analysis.intervals import FEWEST, _inverse_trigamma, means, moderate


def test_equally_noisy_cases_share_what_they_know() -> None:
    rng = np.random.default_rng(1)
    found = moderate(means(rng.normal(0, 0.02, (4, 2000))))
    assert found.sd == pytest.approx(np.full(2000, 0.02), rel=0.25)
    assert found.dof.min() > 50
    assert found.error == pytest.approx(found.sd / 2)


def test_cases_that_differ_keep_their_own() -> None:
    rng = np.random.default_rng(2)
    truth = np.geomspace(0.01, 0.1, 200)
    before = means(rng.normal(0, truth, (12, 200)))
    after = moderate(before)
    assert after.dof.max() < 16  # 11 and little more
    assert after.sd[150:] == pytest.approx(before.sd[150:], rel=0.15)
    assert (after.sd[:50] > before.sd[:50]).mean() > 0.95  # the quiet ones err on the safe side


def test_the_scatter_of_the_variances_is_found() -> None:
    """Variances drawn as the model says, with 10 degrees of freedom of their own."""
    rng = np.random.default_rng(3)
    variance = 0.01**2 * 10 / rng.chisquare(10, 20_000)
    found = moderate(means(rng.normal(0, np.sqrt(variance), (6, 20_000))))
    assert found.dof - 5 == pytest.approx(np.full(20_000, 10), rel=0.15)


def test_few_cases_stay_as_they_are() -> None:
    observations = np.random.default_rng(4).normal(0, 1, (5, FEWEST - 1))
    before, after = means(observations), moderate(means(observations))
    assert (before.sd == after.sd).all()
    assert (before.dof == after.dof).all()


def test_cases_without_an_interval_stay_without_one() -> None:
    observations = np.random.default_rng(5).normal(0, 1, (5, 8))
    observations[1:, 3] = np.nan
    found = moderate(means(observations))
    assert np.isnan(found.error[3])
    assert np.isfinite(np.delete(found.error, 3)).all()


def test_together_they_know_no_more_than_all_blocks() -> None:
    found = moderate(means(np.tile([[1.0], [1.1], [0.9]], 6)))
    assert found.dof == pytest.approx(np.full(6, 12))


@pytest.mark.parametrize("value", [1e-5, 0.01, 1.0, 100.0])
def test_inverse_trigamma(value: float) -> None:
    assert polygamma(1, _inverse_trigamma(value)) == pytest.approx(value, rel=1e-6)
