"""From records and ceilings to what the latency model says of each curve."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from paraformer_bench.analysis.claim import judge
from paraformer_bench.analysis.latency_model import Prediction, predict, unseen_error
from paraformer_bench.analysis.roofline import floors, limits_of
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run, RunInfo

MakeCurve = Callable[..., list[Record]]
MakeRun = Callable[..., Run]

BRANCH = 2e-3
"""Seconds of the products of one branch at the ceilings: two of 1e8 FLOPs."""


def counted(records: Sequence[Record]) -> list[Record]:
    """Give every record the operations of a net whose launches grow with its depth."""
    for record in records:
        depth = record.case.depth
        record.work = [("addmm", 2 * depth, 10**8, 10**5), ("norm", 5, 0, 10)]
        record.parameter_bytes = 10**5 * depth
    return list(records)


def seconds(depth: int) -> float:
    return 1.5 * BRANCH * depth + (2 * depth + 5) * 2e-6


@pytest.fixture
def run(make_curve: MakeCurve, make_run: MakeRun, ceilings: Ceilings) -> Run:
    times = {L: [seconds(L) * noise for noise in (0.999, 1.001, 1.0)] for L in (1, 2, 4, 8, 16)}
    return make_run(counted(make_curve(times)), ceilings=ceilings)


def only(run: Run) -> Prediction:
    [prediction] = predict(run, judge(run.records))
    return prediction


def test_the_deep_end_is_predicted_from_the_shallow_one(run: Run) -> None:
    model = only(run).model
    assert model is not None
    assert model.scales.work == pytest.approx(1.5, rel=0.02)
    assert [step.measured for step in model.steps] == pytest.approx(
        [seconds(L) for L in (1, 2, 4, 8, 16)], rel=1e-3
    )
    assert model.error == pytest.approx(0, abs=0.01)
    assert unseen_error(predict(run, judge(run.records))) == model.error
    assert {step.limit for step in model.steps} == {"compute"}


def test_the_entry_is_json_with_seconds_and_shares(run: Run) -> None:
    entry = json.loads(json.dumps(only(run).flat(), allow_nan=False))
    assert entry["curve_id"] == run.records[0].case.curve_id
    assert entry["reason"] is None
    assert entry["constant_up_to"] == entry["measured_constant_up_to"] == 1
    assert entry["seconds_a_branch"] == pytest.approx(1.5 * BRANCH + 4e-6, rel=0.01)
    step = entry["steps"][-1]
    assert step["depth"] == 16
    assert not step["fitted"]
    assert sum(step["terms_seconds"].values()) == pytest.approx(step["predicted_seconds"])
    assert step["error"] == pytest.approx(step["predicted_seconds"] / step["measured_seconds"] - 1)


def test_failed_records_are_not_measurements(run: Run) -> None:
    for record in run.records:
        if record.case.depth == 16:
            record.status = "oom"
    model = only(run).model
    assert model is not None
    assert [step.depth for step in model.steps] == [1, 2, 4, 8]


def test_device_time_is_predicted_beside_wall_time(
    make_curve: MakeCurve, make_run: MakeRun, gpu_ceilings: Ceilings
) -> None:
    times = {L: [1e-3, 1e-3] for L in (1, 2, 4)}
    events = {L: [2e-3 * L, 2e-3 * L] for L in (1, 2, 4)}
    records = counted(make_curve(times, events, device="cuda:0"))
    run = make_run(records, ceilings=gpu_ceilings)
    bases = {p.verdict.basis: p.model for p in predict(run, judge(run.records))}
    assert bases.keys() == {"wall", "device"}
    device = bases["device"]
    assert device is not None
    assert [step.measured for step in device.steps] == pytest.approx([2e-3, 4e-3, 8e-3])


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({}, "ceilings of the device were not measured"),
        ({"ceilings": None, "ceilings_reason": "the probe died"}, "the probe died"),
    ],
)
def test_without_ceilings_there_is_a_reason(
    run: Run, make_run: MakeRun, info: dict[str, Any], words: str
) -> None:
    prediction = only(make_run(run.records, **info))
    assert prediction.model is None
    assert words in prediction.reason
    assert words in prediction.flat()["reason"]
    assert floors(run.records, limits_of(RunInfo(**info))[0]) == {}


def test_a_precision_that_was_not_probed_has_no_model(
    make_curve: MakeCurve, make_run: MakeRun, ceilings: Ceilings
) -> None:
    records = counted(make_curve({1: [1, 1], 2: [1, 1]}, dtype="bfloat16"))
    prediction = only(make_run(records, ceilings=ceilings))
    assert prediction.reason == "no ceiling was measured in bfloat16"


@pytest.mark.parametrize("work", [None, [], [["addmm", "many", 1, 1]], [["addmm", 10**400, 1, 1]]])
def test_uncounted_operations_have_no_model(run: Run, work: Any) -> None:
    for record in run.records:
        record.work = work
    assert only(run).reason == "its operations were not counted"


def test_one_shallow_depth_has_no_model(
    make_curve: MakeCurve, make_run: MakeRun, ceilings: Ceilings
) -> None:
    records = counted(make_curve({4: [1, 1], 8: [1, 1]}))
    assert "two shallow depths" in only(make_run(records, ceilings=ceilings)).reason


def test_every_counted_case_has_a_floor(run: Run) -> None:
    found = floors(run.records, limits_of(run.info)[0])
    # At the peak of 100 GFLOP/s; five norms of ten bytes at 40 GB/s are next to nothing.
    for record in run.records:
        assert found[record.case.id] == pytest.approx(2e-3 * record.case.depth, rel=1e-5)
