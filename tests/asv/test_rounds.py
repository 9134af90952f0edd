"""Times of blocks from rounds that a neighbour disturbed."""

from __future__ import annotations

import random
from math import log, sqrt
from statistics import fmean, median, stdev

import pytest

pytest.importorskip("asv")

from suites.rounds import split, steady

TRUTH = {f"case {n}": 0.001 * 1.7**n for n in range(9)}
"""Seconds of nine cases."""


def bursts(seed: int, spread: float = 0.02) -> dict[str, dict[int, list[float]]]:
    """Eight blocks of eight rounds, of which a neighbour makes a third twice as long."""
    noise = random.Random(seed)
    slow = {
        (block, number): 2.0 if noise.random() < 1 / 3 else 1.0
        for block in range(8)
        for number in range(8)
    }
    return {
        case: {
            block: [
                seconds * slow[block, number] * noise.lognormvariate(0, spread)
                for number in range(8)
            ]
            for block in range(8)
        }
        for case, seconds in TRUTH.items()
    }


def test_a_round_has_the_median_of_its_samples() -> None:
    assert split([1.0, 9.0, 2.0, 5.0, 6.0], [3, 2]) == [2.0, 5.5]
    assert split([1.0, 9.0, 2.0], [0, 3]) == [2.0]


def test_rounds_that_were_not_counted_are_one() -> None:
    assert split([1.0, 9.0, 2.0], []) == [2.0]
    assert split([1.0, 9.0, 2.0], [7]) == [2.0]
    assert split([], []) == []


def test_bursts_cancel_between_cases() -> None:
    """Ratios within a block are known as if there had been no neighbour."""
    times = steady(bursts(0))
    for case, blocks in times.items():
        ratios = [log(blocks[b] / times["case 4"][b]) for b in range(8)]
        assert median(ratios) == pytest.approx(log(TRUTH[case] / TRUTH["case 4"]), abs=0.02)
        assert stdev(ratios) < 0.03


def test_the_level_is_that_of_most_rounds() -> None:
    times = steady(bursts(1))
    for case, blocks in times.items():
        assert median(blocks.values()) == pytest.approx(TRUTH[case], rel=0.05)


@pytest.mark.parametrize("cases", [3, 9])
def test_blocks_agree_no_better_than_they_do(cases: int) -> None:
    """The error that eight blocks tell is the one that equal commits show."""
    ratios, told = [], []
    for commit in range(300):
        noise = random.Random(commit)
        times = steady(
            {
                case: {b: [noise.lognormvariate(0, 0.02) for _ in range(8)] for b in range(8)}
                for case in range(cases)
            }
        )
        apart = [log(times[0][b] / times[1][b]) for b in range(8)]
        ratios.append(fmean(apart))
        told.append(stdev(apart) / sqrt(8))
    assert stdev(ratios) < 1.2 * sqrt(fmean(e * e for e in told))


def test_two_others_tell_what_a_round_did_and_one_does_not() -> None:
    own, other = {0: [1.0, 3.0, 3.0]}, {0: [1.0, 2.0, 1.0]}
    assert steady({0: own, 1: other, 2: other})[0][0] == pytest.approx(1.5)  # 0, log 1.5, log 3
    assert steady({0: own, 1: other})[0][0] == pytest.approx(3.0)


def test_a_case_of_its_own_keeps_what_it_shows() -> None:
    assert steady({"alone": {0: [1.0, 3.0, 2.0], 1: [4.0]}})["alone"] == pytest.approx(
        {0: 2.0, 1: 4.0}
    )


def test_a_change_of_one_case_stays_its_own() -> None:
    before, changed = bursts(2), bursts(2)
    changed["case 3"] = {b: [1.1 * s for s in rounds] for b, rounds in before["case 3"].items()}
    was, now = steady(before), steady(changed)
    for case in TRUTH:
        factor = 1.1 if case == "case 3" else 1.0
        assert now[case] == pytest.approx({b: factor * s for b, s in was[case].items()})


def test_what_slowed_a_whole_block_is_put_back() -> None:
    steadily = {case: {b: [s * (1 + (b == 5))] * 4 for b in range(8)} for case, s in TRUTH.items()}
    for case, blocks in steady(steadily).items():
        assert blocks == pytest.approx({b: TRUTH[case] * (1 + (b == 5)) for b in range(8)})


def test_cases_may_lack_blocks_and_rounds() -> None:
    cases = bursts(3)
    cases["case 0"] = {2: cases["case 0"][2][:5]}
    assert list(steady(cases)["case 0"]) == [2]
