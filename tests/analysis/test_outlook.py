"""Depths and batches that were not measured, on a device whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from paraformer_bench.analysis.claim import judge
from paraformer_bench.analysis.latency_model import Demand, Prediction, Scales, fit, terms_of
from paraformer_bench.analysis.outlook import (
    DEEPEST,
    between,
    outlooks,
    reach,
    scales_at,
    typical_error,
)
from paraformer_bench.study.record import Record

MakeCurve = Callable[..., list[Record]]

DEPTHS = (1, 2, 4, 8)


def demand(host: float = 0.0, compute: float = 0.0, overlapped: bool = False) -> Demand:
    return Demand(host, 0.0, compute, 0.0, 0.0, 0.0, overlapped)


def truth(depth: int, batch: int) -> Demand:
    """One launch of 100 us, and a microsecond of work for each block and image."""
    return demand(host=100e-6, compute=1e-6 * depth * batch)


def seconds(one: Demand, scales: Scales = Scales()) -> float:  # noqa: B008  (frozen)
    return sum(terms_of(one, scales).values())


def predicted(
    make_curve: MakeCurve,
    batch: int,
    depths: tuple[int, ...] = DEPTHS,
    measured: Mapping[int, float] | None = None,
    **fields: Any,
) -> Prediction:
    """A curve measured as it is in truth, and its model."""
    times = measured or {depth: seconds(truth(depth, batch)) for depth in depths}
    records = make_curve({L: [t, t, t] for L, t in times.items()}, batch=batch, **fields)
    [verdict] = judge(records)
    return Prediction(verdict, fit({L: truth(L, batch) for L in depths}, times, verdict.margin))


def test_a_line_goes_through_the_neighbours() -> None:
    known = {1: demand(1.0, 2.0), 4: demand(4.0, 2.0), 8: demand(4.0, 10.0)}
    assert between(known, 4) is known[4]
    assert between(known, 2) == demand(2.0, 2.0)
    assert between(known, 6) == demand(4.0, 6.0)
    assert between(known, 16) == demand(4.0, 26.0)


def test_a_line_does_not_fall_below_nothing() -> None:
    assert between({2: demand(1.0), 3: demand(0.0)}, 9) == demand(0.0)


@pytest.mark.parametrize(
    ("batch", "up_to"),
    # 100 + L b < 1.1 (100 + b), in microseconds
    [(1, 11), (2, 6), (4, 3), (8, 2), (16, 1)],
)
def test_the_depth_is_found_to_a_block(batch: int, up_to: int) -> None:
    demands = {L: truth(L, batch) for L in (1, 2)}
    assert reach(demands, Scales(), 0.1) == (up_to, False)


def test_a_valley_counts_as_growth() -> None:
    demands = {1: demand(1.0), 2: demand(0.8), 4: demand(0.85), 8: demand(0.9)}
    up_to, beyond = reach(demands, Scales(), 0.1)
    assert (up_to, beyond) == (6, False)  # 0.8625 there, 0.875 at 6, 0.8875 at 7: over 0.88


def test_what_never_grows_is_given_up_somewhere() -> None:
    assert reach({1: demand(1.0), 2: demand(1.0)}, Scales(), 0.1) == (DEEPEST, True)


def test_launches_that_hide_the_work_are_told_from_it() -> None:
    demands = {L: demand(100e-6, 1e-6 * L, overlapped=True) for L in (1, 2, 4)}
    # Nothing shows until the work takes longer than the launches and the margin: 110.
    assert reach(demands, Scales(), 0.1) == (109, False)
    assert reach(demands, Scales(work=0.5), 0.1) == (219, False)


def test_batches_between_and_beyond_are_predicted(make_curve: MakeCurve) -> None:
    [one] = outlooks([predicted(make_curve, 8), predicted(make_curve, 1)])
    assert one.verdict.curve.regime.batch == 1
    assert {at.batch: at.up_to for at in one.batches} == {1: 11, 2: 6, 4: 3, 8: 2, 16: 1, 32: 1}
    assert {at.batch: at.measured for at in one.batches if at.measured} == {1: 8, 8: 2}
    assert one.trusted
    assert {at.deepest for at in one.batches} == {8, None}
    assert one.errors == ()
    assert typical_error([one]) is None


def test_a_batch_in_the_middle_shows_how_well_it_is_predicted(make_curve: MakeCurve) -> None:
    slow = {L: 1.25 * seconds(truth(L, 4)) for L in DEPTHS}
    ends = [predicted(make_curve, 1), predicted(make_curve, 16)]
    [one] = outlooks([*ends, predicted(make_curve, 4, measured=slow)])
    assert one.errors == pytest.approx([-0.2] * 4, abs=0.005)
    assert typical_error([one]) == pytest.approx(0.2, abs=0.005)


def test_a_model_that_misses_what_is_known_is_not_trusted(make_curve: MakeCurve) -> None:
    depths = (1, 2, 4, 8, 16, 32)
    flat = predicted(make_curve, 1, depths, measured=dict.fromkeys(depths, 1e-4))  # the model: 8
    [one] = outlooks([flat, predicted(make_curve, 8)])
    assert not one.trusted


def test_one_batch_says_nothing_of_others(make_curve: MakeCurve) -> None:
    [one] = outlooks([predicted(make_curve, 4)])
    assert [(at.batch, at.up_to, at.measured) for at in one.batches] == [(4, 3, 2)]


def test_other_conditions_are_other_curves(make_curve: MakeCurve) -> None:
    uncounted = Prediction(predicted(make_curve, 8).verdict, None, "nothing was counted")
    other = predicted(make_curve, 4, dtype="bfloat16")
    found = outlooks([predicted(make_curve, 1), other, uncounted])
    assert [[at.batch for at in one.batches] for one in found] == [[1], [4]]


def test_depths_that_one_batch_lacks_are_carried_on(make_curve: MakeCurve) -> None:
    [one] = outlooks([predicted(make_curve, 1), predicted(make_curve, 4, depths=(1, 2))])
    assert {at.batch: at.up_to for at in one.batches}[2] == 6


def test_batches_that_share_no_depth_say_nothing_of_others(make_curve: MakeCurve) -> None:
    [one] = outlooks([predicted(make_curve, 1, (1, 2)), predicted(make_curve, 8, (3, 4))])
    assert [(at.batch, at.shallowest, at.up_to) for at in one.batches] == [(1, 1, 11), (8, 3, 4)]
    assert one.errors == ()


def test_one_shared_depth_says_nothing_of_how_a_curve_goes_on(make_curve: MakeCurve) -> None:
    ends = [predicted(make_curve, 1, (1, 2)), predicted(make_curve, 64, (2, 4))]
    [one] = outlooks([*ends, predicted(make_curve, 8, (1, 2, 4))])
    assert {at.batch: at.up_to for at in one.batches if at.measured} == {1: 11, 8: 2, 64: 2}
    assert {at.batch for at in one.batches} >= {2, 4}  # known from 1 and 8, which share two
    assert one.errors == ()  # of 8 from 1 and 64, which share one


@pytest.mark.parametrize(("batch", "work"), [(1, 1.0), (4, 2.0), (16, 4.0), (64, 4.0)])
def test_beyond_the_last_batch_nothing_is_farther_from_the_ceilings(
    batch: int, work: float
) -> None:
    known = {1: Scales(launch=3.0, work=1.0), 16: Scales(launch=3.0, work=4.0)}
    assert scales_at(known, batch).work == pytest.approx(work)
    assert scales_at(known, batch).launch == pytest.approx(3.0)
