"""Many devices, predicted from a net and a network whose truth is known."""

from __future__ import annotations

import pytest

from benchmarks.scaling import ring, row, step_seconds, tree
from paraformer_bench.analysis.latency_model import Demand, Model, Scales


def model(fixed: float, each: float) -> Model:
    """A net that takes so long and, for each block, so much longer."""
    demands = {d: Demand(0.0, 0.0, fixed + each * d, 0.0, 0.0, 0.0, False) for d in (1, 2)}
    return Model(Scales(), (), 1, demands)


PARALLEL, SERIAL = model(89e-6, 11e-6), model(0.0, 100e-6)


def test_a_step_is_fitted_to_all_that_was_measured() -> None:
    assert step_seconds({2: 3e-6}) == pytest.approx(3e-6)
    assert step_seconds({2: 2e-6, 4: 4e-6, 8: 6e-6}) == pytest.approx(2e-6)


def test_a_tree_doubles_and_a_ring_goes_round() -> None:
    assert [tree(n, 1.0) for n in (1, 2, 3, 4, 8, 1024)] == [0, 1, 2, 2, 3, 10]
    assert [ring(n, 1.0) for n in (1, 2, 8)] == [0, 1, 7]


def test_one_device_is_the_net_itself() -> None:
    found = row(1, 0.0, PARALLEL, SERIAL, 0.1)
    assert found.single == pytest.approx(100e-6)
    assert found.slower == 1
    assert found.up_to == 1  # two branches take 111 us, more than 110
    assert found.speedup == pytest.approx(1)


def test_the_sum_hides_growth_and_costs_speed() -> None:
    found = row(16, 200e-6, PARALLEL, SERIAL, 0.1)
    assert found.slower == pytest.approx(3)
    # 300 us with one branch each; three take 322 us, four 333: more than 330.
    assert found.up_to == 48
    assert found.time == pytest.approx(322e-6)
    assert found.speedup == pytest.approx(48 * 100 / 322)
