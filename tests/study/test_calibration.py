from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from paraformer_bench.doctor import judge
from paraformer_bench.study import wire
from paraformer_bench.study.calibration import Calibration, Reading
from paraformer_bench.study.ceilings import Place
from paraformer_bench.study.survey import Survey

Make = Callable[..., Calibration]


def reading_of(true: float, measured: float, basis: str = "wall") -> Reading:
    return Reading(basis, true, true, measured, 10)


@pytest.mark.parametrize(
    ("true", "difference", "basis", "within"),
    [
        (50e-6, 1.9e-6, "wall", True),  # 3.8%, but below 2 us
        (50e-6, 2.1e-6, "wall", False),
        (50e-6, -2.1e-6, "wall", False),
        (50e-6, 4.9e-6, "device", True),  # of which starting a kernel is a part
        (50e-6, 5.1e-6, "device", False),
        (10e-3, 99e-6, "wall", True),
        (10e-3, -99e-6, "wall", True),
        (10e-3, 101e-6, "wall", False),
        (10e-3, 101e-6, "device", False),
    ],
)
def test_tolerance_is_the_larger_of_two(
    true: float, difference: float, basis: str, within: bool
) -> None:
    reading = reading_of(true, true + difference, basis)
    assert reading.within == within
    assert reading.difference == pytest.approx(difference)
    assert reading.share == pytest.approx(difference / true)


def test_there_and_back(make_calibration: Make) -> None:
    calibration = make_calibration()
    assert wire.convert(calibration.plain(), Calibration) == calibration


@pytest.mark.parametrize(
    "change",
    [
        {"true_seconds": 0.0},
        {"true_seconds": float("nan")},
        {"measured_seconds": -1e-3},
        {"measured_seconds": float("inf")},
        {"measured_seconds": "long"},
        {"measured_seconds": None},
        {"samples": []},
        {"basis": "sundial"},
        {"basis": {}},
    ],
)
def test_reading_that_makes_no_sense(make_calibration: Make, change: dict[str, Any]) -> None:
    data = make_calibration().plain()
    data["readings"][0] |= change
    with pytest.raises(wire.Malformed):
        wire.convert(data, Calibration)


def test_judgement(make_calibration: Make) -> None:
    good = judge(make_calibration())
    assert good.good
    assert (
        good.what
        == "cpu: known delays are read to within 1% or 2 us, whichever is larger (wall time)"
    )
    bad = judge(make_calibration(late=3e-6))
    assert not bad.good
    assert bad.what.endswith("larger, for delays of 50 us, 200 us")
    assert bad.fix


def test_device_time_decides_where_there_is_one(make_calibration: Make) -> None:
    wall = make_calibration(late=20e-6)
    device = tuple(replace(r, basis="device") for r in make_calibration().readings)
    both = replace(wall, readings=(*wall.readings, *device))
    assert (wall.basis, wall.good) == ("wall", False)
    assert (both.basis, both.good) == ("device", True)
    assert "1% or 5 us, whichever is larger (device time)" in judge(both).what
    assert both.plain()["tolerance"]["absolute_seconds"] == 5e-6


def test_place_of_a_device(survey_of: Callable[..., Survey]) -> None:
    place = survey_of(gpus=2).place("cuda:1")
    assert place == Place("host", "cuda:1", "NVIDIA H200", "2.13.0")
