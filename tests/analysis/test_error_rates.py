"""The rule keeps what it promises: 2,000 simulated studies a cell, drawn as records are made.

Every limit is the exact 99.9% binomial one, so that a rate that is as promised passes and one that
is clearly worse does not. The whole table is in docs/method.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.many_curves import exponents, judge_many
from benchmarks.operating_characteristics import drift_effect
from benchmarks.simulate import DEPTHS, TRUTHS, Study, draw, log_medians, records
from paraformer_bench.analysis.claim import judge
from paraformer_bench.analysis.curve import CONSTANT, GROWS, judge_curve
from paraformer_bench.study.case import Case
from paraformer_bench.study.job import round_order

pytestmark = pytest.mark.slow

STUDIES = 2_000
HEAVY = pytest.mark.parametrize("heavy", [False, True], ids=["normal", "heavy"])


def at_most(promised: float, found: int, of: int = STUDIES) -> bool:
    """Whether ``found`` is no more than what a rate of ``promised`` brings about."""
    return bool(found <= stats.binom.ppf(0.999, of, promised))


def at_least(promised: float, found: int, of: int = STUDIES) -> bool:
    return at_most(1 - promised, of - found, of)


def verdicts(study: Study, truth: Sequence[float], seed: int = 11) -> np.ndarray:
    return judge_many(log_medians(draw(study, STUDIES, seed), truth)).verdicts


@pytest.mark.parametrize("blocks", [5, 12])
@HEAVY
def test_one_pair_exactly_at_the_margin_errs_in_five_percent_each_way(
    blocks: int, heavy: bool
) -> None:
    study = Study(0.03, blocks, depths=(1, 2), heavy=heavy)
    found = verdicts(study, (1, 1.1))
    assert at_most(0.05, (found == CONSTANT).sum())
    assert at_most(0.05, (found == GROWS).sum())
    if not heavy:  # and not in two, as with a bound that is two-sided
        assert at_least(0.05, (found == CONSTANT).sum())
        assert at_least(0.05, (found == GROWS).sum())


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05, 0.15])
@HEAVY
def test_seven_depths_at_the_margin_are_hardly_ever_constant(noise: float, heavy: bool) -> None:
    for truth in (TRUTHS["margin"], np.geomspace(1, 1.1, 7).tolist()):
        found = verdicts(Study(noise, 8, heavy=heavy), truth)
        assert at_most(0.05, (found == CONSTANT).sum())
        assert at_most(0.05, (found == GROWS).sum())


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05, 0.15])
@HEAVY
def test_flat_truth_does_not_grow(noise: float, heavy: bool) -> None:
    assert at_most(0.002, (verdicts(Study(noise, 5, heavy=heavy), TRUTHS["flat"]) == GROWS).sum())


def test_flat_truth_is_called_constant_at_two_percent_and_twelve_blocks() -> None:
    assert at_least(0.99, (verdicts(Study(0.02, 12), TRUTHS["flat"]) == CONSTANT).sum())
    heavy = verdicts(Study(0.02, 12, heavy=True), TRUTHS["flat"])
    assert at_least(0.98, (heavy == CONSTANT).sum())


@pytest.mark.parametrize("truth", ["late_25", "valley", "step", "power_0.1"])
def test_growth_is_found_wherever_it_is(truth: str) -> None:
    assert at_least(0.97, (verdicts(Study(0.05, 8), TRUTHS[truth]) == GROWS).sum())


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("blocks", [5, 12])
def test_intervals_cover_the_truth(correlation: float, blocks: int) -> None:
    study = Study(0.05, blocks, correlation=correlation)
    logs = log_medians(draw(study, STUDIES, seed=12), TRUTHS["power_1"])
    _, low, high = exponents(logs, DEPTHS)
    assert 0.93 <= ((low < 1) & (high > 1)).mean() <= 0.97
    shallow, deep = np.triu_indices(len(DEPTHS), k=1)
    truth = np.log(np.array(DEPTHS)[deep] / np.array(DEPTHS)[shallow])
    found = judge_many(logs, confidence=0.975)  # one-sided bounds: 95% between the two
    assert 0.93 <= ((found.low < truth) & (truth < found.high)).mean() <= 0.97


@pytest.mark.parametrize("blocks", [5, 8, 12, 20])
def test_a_drift_of_three_percent_moves_no_contrast_by_a_thousandth(blocks: int) -> None:
    assert np.abs(drift_effect(STUDIES, blocks, noise=0.0)).max() < 1e-3


@pytest.mark.parametrize("blocks", [5, 12])
@HEAVY
def test_among_noise_a_drift_moves_contrasts_by_chance_alone(blocks: int, heavy: bool) -> None:
    """Which sample is the median then decides: in every direction, and by less than the noise."""
    moved = drift_effect(STUDIES, blocks, noise=0.02, heavy=heavy)
    assert np.abs(moved.mean(axis=0)).max() < 1e-4
    assert moved.std() < 0.05 * 0.02


@pytest.mark.parametrize("drift", [0.0, 0.03])
@pytest.mark.parametrize("truth", ["flat", "late_25", "valley"])
def test_the_order_of_visits_decides_nothing(drift: float, truth: str) -> None:
    study = Study(0.02, 12, drift=drift)
    forwards = log_medians(draw(study, STUDIES, seed=13), TRUTHS[truth])
    turned = log_medians(draw(replace(study, reverse=True), STUDIES, seed=13), TRUTHS[truth])
    assert (judge_many(forwards).verdicts == judge_many(turned).verdicts).all()


def test_the_order_of_records_decides_nothing() -> None:
    study = Study(0.05, 8)
    for seed in range(10):
        found = records(draw(study, 1, seed)[0], study, TRUTHS["late_4"])
        assert judge(found) == judge(found[::-1])


@HEAVY
def test_records_are_judged_as_the_numbers_of_these_tests_are(heavy: bool) -> None:
    """From samples to the verdict through the code that judges real runs."""
    study = Study(0.05, 8, heavy=heavy)
    for name, truth in TRUTHS.items():
        samples = draw(study, 20, seed=14)
        logs = log_medians(samples, truth)
        many = judge_many(logs)
        _, low, high = exponents(logs, DEPTHS)
        for k, one in enumerate(samples):
            [verdict] = judge(records(one, study, truth))
            assert verdict.verdict == many.verdicts[k], name
            assert verdict.constant_up_to == DEPTHS[many.constant_up_to[k]]
            assert verdict.exponent is not None
            assert verdict.exponent.low == pytest.approx(low[k], abs=1e-9)
            assert verdict.exponent.high == pytest.approx(high[k], abs=1e-9)
            bounds = [math.log(ratio.high) for ratio in verdict.ratios[1:] if ratio.high]
            assert bounds == pytest.approx(many.high[k, : len(bounds)].tolist(), abs=1e-9)


def test_many_curves_are_judged_as_one_is() -> None:
    rng = np.random.default_rng(15)
    for depths in (2, 5, 7):
        for blocks in (2, 5, 12):
            noise = rng.choice([0.01, 0.05, 0.1], (50, 1, 1))
            steps = rng.choice([0, 0.05, 0.2], (50, 1, depths))
            logs = rng.normal(0, noise, (50, blocks, depths)) + steps
            many = judge_many(logs)
            for k, study in enumerate(logs):
                one = judge_curve(study, DEPTHS[:depths])
                assert one.verdict == many.verdicts[k]
                assert one.constant_up_to == DEPTHS[many.constant_up_to[k]]


def test_the_second_block_of_a_pair_goes_backwards_and_pairs_differ() -> None:
    cases = [
        Case.of(
            model="m",
            execution="loop",
            runtime="eager",
            depth=2**k,
            width=64,
            batch=1,
            image=32,
            patch=16,
            heads=1,
            branch_depth=1,
            dtype="float32",
            device="cpu",
        )
        for k in range(7)
    ]
    orders = {
        (block, turn): round_order(cases, 3, block, turn)
        for block in range(6)
        for turn in range(3)
    }
    for (block, turn), order in orders.items():
        assert sorted(case.depth for case in order) == [case.depth for case in cases]
        if block % 2:
            assert order == orders[block - 1, turn][::-1]
    firsts = [tuple(order) for (block, _), order in orders.items() if block % 2 == 0]
    assert len(set(firsts)) == len(firsts)
    # A case that fails leaves the others where they were.
    without = round_order(cases[1:], 3, 0, 0)
    assert without == [case for case in orders[0, 0] if case != cases[0]]
