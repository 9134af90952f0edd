from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from paraformer_bench.analysis.curve import CurveJudgement, judge_curve
from paraformer_bench.analysis.intervals import Array

pytestmark = pytest.mark.filterwarnings("error")

DEPTHS = (1, 2, 4, 8, 16)


def noisy(times: Sequence[float], blocks: int = 12, noise: float = 0.02, seed: int = 0) -> Array:
    errors = np.random.default_rng(seed).normal(0, noise, (blocks, len(times)))
    logs: Array = np.log(np.array(times)) + errors
    return logs


def assert_alike(one: CurveJudgement, other: CurveJudgement) -> None:
    """Equal but for rounding."""
    for name in ("verdict", "depths", "constant_up_to", "blocks", "blocks_to_settle"):
        assert getattr(one, name) == getattr(other, name)
    for a, b in zip(one.ratios, other.ratios, strict=True):
        assert (a.ratio, a.low, a.high) == pytest.approx((b.ratio, b.low, b.high), rel=1e-9)
    assert one.worst is not None
    assert other.worst is not None
    assert (one.worst.shallow, one.worst.deep) == (other.worst.shallow, other.worst.deep)
    assert one.exponent is not None
    assert other.exponent is not None
    assert one.exponent.value == pytest.approx(other.exponent.value, abs=1e-9)
    assert one.exponent.low == pytest.approx(other.exponent.low, abs=1e-9)


@pytest.mark.parametrize(
    ("times", "verdict", "up_to", "worst"),
    [
        ((1, 1, 1, 1, 1), "constant", 16, None),
        ((1, 2, 4, 8, 16), "grows", 1, (1, 16)),
        ((1, 1, 1, 1, 2), "grows", 8, None),
        ((1, 0.8, 0.7, 0.85, 1.0), "grows", 4, (4, 16)),
        ((1, 1, 1, 1, 1.25), "grows", 8, None),
        ((1, 1, 1, 1, 1.04), "constant", 16, None),
        ((16, 8, 4, 2, 1), "constant", 16, None),
    ],
)
def test_known_truths(
    times: Sequence[float], verdict: str, up_to: int, worst: tuple[int, int] | None
) -> None:
    got = judge_curve(noisy(times), DEPTHS)
    assert (got.verdict, got.constant_up_to) == (verdict, up_to)
    assert got.worst is not None
    if worst:
        assert (got.worst.shallow, got.worst.deep) == worst
    for ratio, time in zip(got.ratios, times, strict=True):
        assert ratio.ratio == pytest.approx(time / times[0], rel=0.03)
    assert got.blocks_to_settle is None


def test_exponent_of_a_power_law() -> None:
    got = judge_curve(noisy([depth**0.7 for depth in DEPTHS], noise=0.01), DEPTHS).exponent
    assert got is not None
    assert got.low is not None
    assert got.high is not None
    assert got.low < 0.7 < got.high
    assert got.high - got.low < 0.02


def test_hand_example() -> None:
    # Rises over depth 1: 0.01 0.02 0.03 at depth 2, 0.05 0.08 0.11 at depth 4, whatever the block.
    block = np.array([[0.0], [0.3], [-0.2]])
    logs = block + np.array([[0, 0.01, 0.05], [0, 0.02, 0.08], [0, 0.03, 0.11]])
    got = judge_curve(logs, [1, 2, 4])
    half = 2.9199856 / math.sqrt(3)  # t(0.95, 2 dof); pair sds are 0.01, 0.03 and 0.02
    expected = [(1, 0, 0), (2, 0.02, 0.01 * half), (4, 0.08, 0.03 * half)]
    for ratio, (depth, mean, width) in zip(got.ratios, expected, strict=True):
        assert ratio.depth == depth
        assert ratio.ratio == pytest.approx(math.exp(mean))
        assert ratio.low == pytest.approx(math.exp(mean - width))
        assert ratio.high == pytest.approx(math.exp(mean + width))
    # Upper bounds: 1->2 0.037, 2->4 0.0937, both below ln 1.1 = 0.0953; 1->4 0.131, above it.
    assert (got.verdict, got.constant_up_to) == ("inconclusive", 2)
    assert got.worst is not None
    assert (got.worst.shallow, got.worst.deep) == (1, 4)
    assert got.worst.ratio == pytest.approx(math.exp(0.08))
    # With equally spaced log L the slope is (y4 - y1) / (2 ln 2); t(0.975, 2 dof) = 4.3026527.
    assert got.exponent is not None
    assert got.exponent.value == pytest.approx(0.08 / math.log(4))
    assert got.exponent.high == pytest.approx(
        (0.08 + 4.3026527 * 0.03 / math.sqrt(3)) / math.log(4)
    )
    # 0.08 + t * 0.03 / sqrt(n) < 0.09531: t / sqrt(n) is 0.5184 at n = 12 and 0.4943 at 13.
    assert got.blocks_to_settle == 13
    assert "depth 1 to 4 is 1.030x to 1.139x" in got.reason


def test_blocks_to_settle_by_growth() -> None:
    # One pair, so Holm's first step is the plain test: 0.14 - t * 0.0555 / sqrt(n) > 0.09531,
    # that is sqrt(n) / t > 1.242; it is 1.2156 at n = 6 (t = 2.0150) and 1.3616 at 7 (1.9432).
    logs = np.array([[0, 0.0845], [0, 0.14], [0, 0.1955]])
    got = judge_curve(logs, [1, 2])
    assert (got.verdict, got.blocks_to_settle) == ("inconclusive", 7)


def test_blocks_to_settle_gives_up() -> None:
    at_the_margin = math.log(1.1) + np.array([[0, -0.2], [0, 0.2]]) * [0, 1]
    at_the_margin[:, 0] = 0
    got = judge_curve(at_the_margin, [1, 2])
    assert (got.verdict, got.blocks_to_settle) == ("inconclusive", None)


@pytest.mark.parametrize(("p_value", "verdict"), [(0.045, "inconclusive"), (0.01, "grows")])
def test_growth_is_corrected_for_the_number_of_pairs(p_value: float, verdict: str) -> None:
    # Two of the three pairs have this p-value, the third none to speak of: Holm makes it 3 times.
    wiggle = np.array([-0.03, 0.03, -0.03, 0.03])
    error = wiggle.std(ddof=1) / 2
    rise = math.log(1.1) + error * stats.t.isf(p_value, 3) + wiggle
    got = judge_curve(np.stack([0 * wiggle, 0 * wiggle, rise], axis=1), [1, 2, 4])
    assert got.worst is not None
    assert got.worst.low is not None
    assert got.worst.low > 1.1  # without the correction both would count as growth
    assert got.verdict == verdict
    if verdict == "inconclusive":  # Holm's first step of three, at the spread and mean seen
        needed = (rise.mean() - math.log(1.1)) / wiggle.std(ddof=1)
        enough = [n for n in range(5, 99) if needed > stats.t.isf(0.05 / 3, n - 1) / n**0.5]
        assert got.blocks_to_settle == enough[0]


@pytest.mark.parametrize("times", [(1, 1, 1, 1, 1), (1, 1, 1, 1.06, 1.1), (1, 1.3, 2, 3, 4)])
def test_invariances(times: Sequence[float]) -> None:
    logs = noisy(times, noise=0.03, seed=3)
    plain = judge_curve(logs, DEPTHS)
    drift = np.random.default_rng(4).normal(0, 1, (len(logs), 1))
    assert_alike(plain, judge_curve(logs[::-1], DEPTHS))
    assert_alike(plain, judge_curve(logs + math.log(1e-6), DEPTHS))
    assert_alike(plain, judge_curve(logs + drift, DEPTHS))


def test_a_wider_margin_never_loses_constancy() -> None:
    for seed in range(20):
        logs = noisy((1, 1, 1.03, 1.05, 1.08), noise=0.03, seed=seed)
        reached = [judge_curve(logs, DEPTHS, m).constant_up_to for m in (0.02, 0.1, 0.2, 0.5)]
        assert reached == sorted(reached)


def test_zero_variance() -> None:
    flat = judge_curve(np.full((3, 4), -7.1), [1, 2, 4, 8])
    assert (flat.verdict, flat.constant_up_to) == ("constant", 8)
    assert flat.worst is not None
    assert (flat.worst.ratio, flat.worst.low, flat.worst.high) == pytest.approx((1, 1, 1))
    doubled = judge_curve(np.log(np.array([[1, 2.0]] * 3)), [1, 2])
    assert doubled.verdict == "grows"
    assert doubled.worst is not None
    assert doubled.worst.low == pytest.approx(2)
    exactly = judge_curve(np.log(np.array([[1, 1.1]] * 3)), [1, 2])
    assert exactly.verdict == "inconclusive"


def test_pairs_use_the_blocks_they_share() -> None:
    logs = noisy((1, 1, 1, 1, 1), blocks=6)
    logs[0, 1] = logs[3, 4] = math.nan
    got = judge_curve(logs, DEPTHS)
    rise = (logs[:, 4] - logs[:, 0])[[0, 1, 2, 4, 5]]
    interval = stats.ttest_1samp(rise, 0).confidence_interval(0.90)
    assert got.ratios[4].ratio == pytest.approx(math.exp(rise.mean()))
    assert got.ratios[4].low == pytest.approx(math.exp(interval.low))
    assert got.ratios[4].high == pytest.approx(math.exp(interval.high))
    assert got.blocks == 6


def test_one_block_has_ratios_and_no_interval() -> None:
    got = judge_curve(np.log(np.array([[1, 2, 4.0]])), [1, 2, 4])
    assert (got.verdict, got.constant_up_to, got.blocks) == ("inconclusive", 1, 1)
    assert [r.ratio for r in got.ratios] == pytest.approx([1, 2, 4])
    assert {(r.low, r.high) for r in got.ratios[1:]} == {(None, None)}
    assert got.worst is not None
    assert (got.worst.shallow, got.worst.deep, got.worst.low) == (1, 4, None)
    assert got.exponent is not None
    assert got.exponent.value == pytest.approx(1)
    assert (got.exponent.low, got.exponent.high) == (None, None)
    assert got.blocks_to_settle is None
    assert "depths 1 and 2 share 1 of the 2 blocks" in got.reason


def test_a_pair_without_an_interval_stops_constancy_there_and_hides_no_growth() -> None:
    logs = noisy((1, 1, 1, 1, 1))
    logs[1:, 4] = math.nan
    flat = judge_curve(logs, DEPTHS)
    assert (flat.verdict, flat.constant_up_to) == ("inconclusive", 8)
    assert "no interval" in flat.reason
    assert flat.ratios[4].ratio is not None
    assert flat.ratios[4].high is None
    logs[:, 2:4] += 1
    assert judge_curve(logs, DEPTHS).verdict == "grows"


def test_depths_that_share_no_block() -> None:
    got = judge_curve(np.array([[0, math.nan], [math.nan, 0]]), [1, 2])
    assert got.verdict == "inconclusive"
    assert got.ratios[1].ratio is None
    assert (got.worst, got.exponent) == (None, None)


def test_one_depth() -> None:
    got = judge_curve(np.array([[-3.0], [-3.1]]), [4])
    assert (got.verdict, got.constant_up_to, got.depths) == ("inconclusive", 4, (4,))
    assert "at least two" in got.reason
    assert (got.worst, got.exponent, got.blocks_to_settle) == (None, None, None)


def test_empty_rows_and_columns_change_nothing() -> None:
    logs = noisy((1, 1, 1, 1, 1.2))
    wider = np.full((len(logs) + 1, 6), math.nan)
    wider[1:, :5] = logs
    assert_alike(judge_curve(logs, DEPTHS), judge_curve(wider, (*DEPTHS, 32)))


def test_infinite_times_count_as_missing() -> None:
    logs = noisy((1, 1, 1, 1, 1))
    broken = logs.copy()
    broken[0, 0], logs[0, 0] = -math.inf, math.nan
    assert judge_curve(broken, DEPTHS) == judge_curve(logs, DEPTHS)


def test_bounds_beyond_a_float_are_null() -> None:
    logs = np.array([[0, -1.0], [0, 1.0]])
    got = judge_curve(logs, [1, 2], confidence=0.9999999)
    assert got.worst is not None
    assert got.worst.high is None
    assert "beyond all bounds" in got.reason


def test_a_ratio_beyond_the_range_of_a_float_is_the_greatest_float() -> None:
    logs = np.log(np.array([[1e-300, 1e300]] * 2))
    found = judge_curve(logs, (1, 2))
    assert found.verdict == "grows"
    assert found.worst is not None
    assert found.worst.ratio == pytest.approx(sys.float_info.max, rel=1e-9)
    assert (found.worst.low, found.worst.high) == (None, None)
    down = judge_curve(logs[:, ::-1], (1, 2))
    assert down.ratios[1].ratio == 0
