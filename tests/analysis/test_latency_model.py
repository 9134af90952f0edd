"""The latency model on curves whose truth is known."""

from __future__ import annotations

import pytest

from paraformer_bench.analysis.latency_model import (
    Demand,
    Model,
    Scales,
    Step,
    constant_up_to,
    fit,
    terms_of,
)

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
NOTHING = {"floors": 0.0, "compute": 0.0, "bandwidth": 0.0, "join": 0.0, "sync": 0.0}


def make_demand(overlapped: bool = False, **fields: float) -> Demand:
    return Demand(**(NOTHING | {"host": 0.0} | fields), overlapped=overlapped)


def truth(demands: dict[int, Demand], scales: Scales) -> dict[int, float]:
    return {depth: sum(terms_of(one, scales).values()) for depth, one in demands.items()}


def fitted(demands: dict[int, Demand], measured: dict[int, float]) -> Model:
    model = fit(demands, measured, margin=0.1)
    assert model is not None
    return model


def test_scales_are_found_from_the_shallow_depths() -> None:
    demands = {L: make_demand(host=40e-6, compute=1e-5 * L) for L in DEPTHS}
    model = fitted(demands, truth(demands, Scales(1.6, 1.3)))
    assert model.scales.launch == pytest.approx(1.6, rel=0.01)
    assert model.scales.work == pytest.approx(1.3, rel=0.01)
    assert model.error == pytest.approx(0, abs=0.01)
    assert [step.depth for step in model.unseen] == [8, 16, 32, 64]


def test_deep_measurements_do_not_move_the_fit() -> None:
    demands = {L: make_demand(host=40e-6, compute=1e-5 * L) for L in DEPTHS}
    measured = truth(demands, Scales(1.6, 1.3))
    wrong = {L: t * (10 if L > 4 else 1) for L, t in measured.items()}
    right, same = fitted(demands, measured), fitted(demands, wrong)
    assert same.scales == right.scales
    assert same.error == pytest.approx(0.9, abs=0.01)


def test_launches_hide_the_work_until_it_is_longer() -> None:
    """The break is predicted although no depth that was fitted shows anything of the work."""
    demands = {L: make_demand(True, host=100e-6, compute=5e-6 * L, sync=5e-6) for L in DEPTHS}
    model = fitted(demands, truth(demands, Scales(1.2, 1.0)))
    assert model.constant_up_to == 16  # 80 us of work behind 120 us of launches; 160 us at 32
    assert [step.limit for step in model.steps] == ["launch"] * 5 + ["compute"] * 2
    assert model.seconds_a_branch == pytest.approx(5e-6, rel=0.02)


def test_what_takes_most_of_the_time_is_the_limit() -> None:
    terms = {"launch": 1e-6, "compute": 2e-6, "bandwidth": 4e-6, "join": 3e-6}
    demands = {
        L: make_demand(
            host=terms["launch"],
            compute=terms["compute"],
            bandwidth=terms["bandwidth"],
            join=terms["join"],
        )
        for L in DEPTHS
    }
    model = fitted(demands, dict.fromkeys(DEPTHS, 1e-5))
    assert {step.limit for step in model.steps} == {"bandwidth"}
    assert model.steps[0].terms == pytest.approx(terms)
    assert model.constant_up_to == 64
    assert model.seconds_a_branch == pytest.approx(0)


def test_floors_of_a_device_scale_with_the_launches() -> None:
    terms = terms_of(make_demand(floors=1e-5, compute=2e-5, sync=1e-6), Scales(2.0, 3.0))
    assert terms == pytest.approx({"launch": 2.1e-5, "compute": 6e-5, "bandwidth": 0, "join": 0})


def test_one_shallow_depth_is_not_enough() -> None:
    demands = {L: make_demand(host=1e-5) for L in (4, 8, 16)}
    assert fit(demands, dict.fromkeys((4, 8, 16), 1e-5), margin=0.1) is None


def test_a_depth_without_a_time_is_predicted_all_the_same() -> None:
    demands = {L: make_demand(host=1e-5, compute=1e-5 * L) for L in DEPTHS}
    measured = truth(demands, Scales())
    del measured[64]
    model = fitted(demands, measured)
    assert model.steps[-1].seconds == pytest.approx(65e-5, rel=0.01)
    assert model.steps[-1].error is None
    assert len(model.unseen) == 3


@pytest.mark.parametrize(
    ("seconds", "reached"),
    [
        ((1, 1, 1, 1), 8),
        ((1, 1.09, 1.09, 1.09), 8),
        ((1, 1.1, 1, 1), 1),
        ((1, 0.8, 0.87, 0.9), 4),  # from the bottom of the valley it has grown by an eighth
        ((1, 1.05, 1.2, 1), 2),
    ],
)
def test_every_pair_counts(seconds: tuple[float, ...], reached: int) -> None:
    steps = [Step(L, t, None, False, {}) for L, t in zip((1, 2, 4, 8), seconds, strict=True)]
    assert constant_up_to(steps, 0.1) == reached
