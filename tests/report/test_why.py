"""The section about the latency model: words, tables and the figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.analysis.latency_model import Model, Scales, Step
from paraformer_bench.report.build import build_report
from paraformer_bench.report.sections.why import sentence
from paraformer_bench.study import wire
from paraformer_bench.study.ceilings import Ceilings, Copy, Product

CEILINGS = Ceilings(
    date="2025-11-23T20:13:00+00:00",
    host="here",
    device="cpu",
    device_name="AMD EPYC 7B13, 2 cores",
    torch="2.13.0",
    package="0",
    copies=(Copy(10**6, 4e10), Copy(10**8, 1e10)),
    products=(Product("float32", 10**6, 1e-4), Product("float32", 10**9, 1e-2)),
    launch_seconds=2e-6,
    node_seconds=None,
    sync_seconds=0.0,
)


def model(times: dict[int, dict[str, float]], up_to: int) -> Model:
    nothing = dict.fromkeys(("launch", "compute", "bandwidth", "join"), 0.0)
    steps = tuple(
        Step(depth, sum(terms.values()), None, depth <= 4, nothing | terms)
        for depth, terms in times.items()
    )
    return Model(Scales(), steps, up_to)


def test_a_break_is_explained_by_what_hides_and_what_grows() -> None:
    times = {
        1: {"launch": 90e-6, "compute": 1e-6},
        8: {"launch": 90e-6, "compute": 5e-6},
        16: {"launch": 10e-6, "compute": 130e-6, "join": 20e-6},
        32: {"launch": 10e-6, "compute": 282e-6, "join": 38e-6},
    }
    assert sentence(model(times, 8)) == (
        "Predicted to be constant up to 8, because getting operations under way takes 95% of the "
        "time there and does not grow; beyond it each further block costs about 10.6 µs, 88% of "
        "it arithmetic."
    )


def test_a_curve_that_grows_at_once_is_not_called_constant() -> None:
    times = {1: {"bandwidth": 1e-3}, 2: {"bandwidth": 2e-3}, 4: {"bandwidth": 4e-3}}
    assert sentence(model(times, 1)) == (
        "Predicted to grow from the shallowest depth on; each further block costs about 1.00 ms, "
        "100% of it memory traffic."
    )


def test_a_constant_curve_has_nothing_beyond() -> None:
    times = {1: {"launch": 1e-3}, 4: {"launch": 1.02e-3}}
    assert sentence(model(times, 4)) == (
        "Predicted to be constant up to 4, because getting operations under way takes 100% of the "
        "time there and does not grow."
    )


def test_what_grows_within_the_margin_is_not_said_to_stand_still() -> None:
    times = {1: {"compute": 1e-3}, 4: {"compute": 1.08e-3}}
    assert "does not grow" not in sentence(model(times, 4))


@pytest.fixture
def folder(make: Any, tmp_path: Path) -> Path:
    records = make.study()
    for record in records:
        times = record.case.depth if record.case.execution == "loop" else 1
        # At the ceilings a branch takes 0.8 of the millisecond that the slowest nets take.
        record.work = [("addmm", times, 8 * 10**7, 10**6), ("add", times, 0, 10**5)]
    return Path(make.run(tmp_path, records, make.info(ceilings=wire.plain(CEILINGS))))


def test_the_page_shows_prediction_beside_measurement(folder: Path, make: Any) -> None:
    page = make.page(build_report(folder))
    assert "why" in page.ids
    assert "Why it breaks there" in page.text
    # 1, 2 and 4 are seen, 8 is not: three curves, one unseen depth each.
    assert "Over 3 times that it had not seen, the model is off by" in page.text
    assert "within one tested depth of what was measured for 3 of 3 curves" in page.text
    assert "L = 8, measured 8" in page.text  # paraformer stacked
    assert "L = 1, measured 1" in page.text  # the two loops
    assert "Predicted to grow from the shallowest depth on" in page.text
    assert any("Prediction and measurement" in drawing for drawing in page.svgs)


def test_the_page_shows_how_near_the_limit_every_case_is(folder: Path, make: Any) -> None:
    page = make.page(build_report(folder))
    assert any("Percentage of the limit" in drawing for drawing in page.svgs)
    assert (folder / "predictions.json").exists()


def test_without_ceilings_the_page_says_so(make: Any, tmp_path: Path) -> None:
    page = make.page(build_report(make.run(tmp_path, make.study())))
    assert "No model for 3 curves: the ceilings of the device were not measured." in page.text
    assert not any("Percentage of the limit" in drawing for drawing in page.svgs)
