"""The rule keeps what it promises: how often it is wrong on truths at the edge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from paraformer_bench.analysis.curve import judge_curve

STUDIES = 500


def verdicts(times: Sequence[float], noise: float = 0.03, blocks: int = 8) -> Counter[str]:
    rng = np.random.default_rng(2024)
    truth = np.log(np.array(times))
    depths = [2**k for k in range(len(times))]
    return Counter(
        judge_curve(truth + rng.normal(0, noise, (blocks, len(times))), depths).verdict
        for _ in range(STUDIES)
    )


def test_one_pair_exactly_at_the_margin_errs_in_five_percent_each_way() -> None:
    seen = verdicts((1, 1.1))
    # Expected 25 of 500 with a standard deviation of 4.9; a two-sided bound would give 12.5.
    assert 15 <= seen["constant"] <= 35
    assert 15 <= seen["grows"] <= 35


def test_many_pairs_at_the_margin_are_not_called_growth_too_often() -> None:
    seen = verdicts((1, 1, 1, 1, 1, 1, 1.1))
    assert seen["grows"] <= 0.05 * STUDIES
    assert seen["constant"] <= 0.05 * STUDIES


def test_a_ramp_that_ends_at_the_margin_is_not_called_constant_too_often() -> None:
    assert verdicts(np.geomspace(1, 1.1, 7).tolist())["constant"] <= 0.05 * STUDIES


def test_flat_truth_is_called_constant_and_never_growth() -> None:
    seen = verdicts((1,) * 7, noise=0.02, blocks=12)
    assert seen["grows"] == 0
    assert seen["constant"] >= 0.98 * STUDIES
