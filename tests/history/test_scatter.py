"""Values and errors, against scipy and against truths that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paraformer_bench.history import scatter


def everywhere(blocks: np.ndarray) -> np.ndarray:
    return np.ones(blocks.shape[:2], dtype=bool)


@pytest.mark.parametrize("count", [3, 4, 5, 8, 13])
def test_trimmed_means_are_those_of_scipy(count: int) -> None:
    rng = np.random.default_rng(count)
    blocks = np.full((2, 3, 13), np.nan)
    blocks[:, :, :count] = rng.normal(5, 1, (2, 3, count))
    mean, error, dof = scatter.trimmed(blocks)
    for place in np.ndindex(2, 3):
        values = blocks[place][:count]
        assert mean[place] == pytest.approx(stats.trim_mean(values, 0.25))
        cut = int(0.25 * count)
        pulled = np.sort(values).clip(*np.sort(values)[[cut, count - cut - 1]])
        kept = count - 2 * cut
        expected = pulled.var(ddof=1) * (count - 1) / (kept * (kept - 1))
        assert error[place] == pytest.approx(expected)
        assert dof[place] == kept - 1


def test_yuens_t_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 8), rng.normal(1, 2, 8)
    mean, error, _ = scatter.trimmed(np.stack([a, b])[None])
    t = (mean[0, 0] - mean[0, 1]) / np.sqrt(error[0].sum())
    expected = stats.ttest_ind(a, b, equal_var=False, trim=0.25).statistic
    assert t == pytest.approx(expected)


def test_fewer_than_three_blocks_are_no_value() -> None:
    mean, error, dof = scatter.trimmed(np.array([[[1.0, 2.0, np.nan]]]))
    assert np.isnan([mean, error, dof]).all()


def test_the_median_is_that_of_numpy() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, (7, 6))
    values[rng.random(values.shape) < 0.3] = np.nan
    values[0] = 1.0  # no column is empty
    for axis in (0, 1):
        assert scatter.median(values, axis) == pytest.approx(np.nanmedian(values, axis=axis))
    assert np.isnan(scatter.median(np.full((2, 1), np.nan), 0)).all()


def test_a_burst_in_a_block_is_taken_out_of_all_that_saw_it() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 0.01, (6, 2, 8))
    bursts = np.zeros((2, 8))
    bursts[1, [2, 5]] = 1.0
    paired = everywhere(truth)
    paired[5] = False  # measured at another time
    cleaned = scatter.same_blocks(truth + bursts, paired)
    assert np.abs(cleaned[:5] - truth[:5]).max() < 0.03
    assert np.abs(cleaned[5] - truth[5] - bursts).max() == 0


def test_how_restless_the_machine_was() -> None:
    rng = np.random.default_rng(4)
    blocks = rng.normal(0, 0.001, (6, 2, 8))
    speeds = rng.normal(0, 0.3, 8)
    blocks[:, 1] += speeds
    calm, restless = scatter.restlessness(blocks, everywhere(blocks))
    assert calm < 1e-5
    assert restless == pytest.approx(speeds.var(), rel=0.05)
    assert scatter.restlessness(blocks[:4], everywhere(blocks[:4])).tolist() == [0.0, 0.0]


def test_errors_of_all_cells_help_each_other() -> None:
    """Series twice as noisy and commits three times as noisy as others are told apart."""
    rng = np.random.default_rng(5)
    series, commits = np.geomspace(0.01, 0.02, 20), np.ones(30)
    commits[:5] = 3.0
    blocks = rng.normal(0, 1, (20, 30, 8)) * series[:, None, None] * commits[None, :, None]
    mean, error, dof = scatter.trimmed(blocks)
    steadied, known = scatter.steadied(error, dof)
    true = series[:, None] * commits * (mean / (series[:, None] * commits)).std()
    ratios = np.sqrt(steadied) / true
    assert 0.9 < np.median(ratios) < 1.25
    assert np.quantile(ratios, 0.02) > 0.75
    assert (known > 30).all()


def test_what_scatters_on_both_sides_is_the_commits_and_on_one_side_the_codes() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(0, 0.01, (30, 9))
    values[:, 2] += rng.normal(0, 0.3, 30)  # the machine ran wild
    values[:15, 6:] += 0.5  # a change
    values[15:, 6:] -= 0.5
    together = np.ones(9, dtype=bool)
    variances, _ = scatter.run_scatter(values, np.full(values.shape, 0.01**2), together)
    own = np.sqrt(variances)
    assert own[2] == pytest.approx(0.3, rel=0.3)
    assert (np.delete(own, 2) < 0.05).all()


def test_an_overrun_machine_is_believed_little_unless_the_sentinel_was_calm() -> None:
    shift = np.array([0.0, 0.1, -0.2, 1.0])
    variance = scatter.unevenness(shift, None)
    assert variance[:3].tolist() == [0, 0, 0]
    assert np.sqrt(variance[3]) == pytest.approx((1.0 - np.log(1.3)) / 2, abs=0.01)
    assert scatter.unevenness(shift, np.array([5.0, 5.01, 5.0, 4.99])).tolist() == [0, 0, 0, 0]
    restless = scatter.unevenness(shift, np.array([6.0, 5.0, np.nan, 5.0]))
    assert np.sqrt(restless[0]) == pytest.approx((1.0 - np.log(1.3)) / 2, abs=0.01)
    assert restless[1:].tolist() == [0, 0, 0]
