from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from paraformer_bench.analysis.claim import judge, verdict_file
from paraformer_bench.analysis.medians import block_median, log_median
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

Curve = Callable[..., list[Record]]
FLAT = {1: [1.0, 1.01, 0.99], 2: [1.0, 1.01, 0.99], 4: [1.01, 1.02, 1.0]}
LINEAR = {1: [1.0, 1.01, 0.99], 2: [2.0, 2.02, 1.98], 4: [4.0, 4.04, 3.96]}

CURVE = {"model", "execution", "runtime", "width", "batch", "tokens", "dtype", "device", "mode"}
FOUND = {"verdict", "constant_up_to", "ratios", "worst", "exponent", "blocks", "flags"}
CONTRACT = CURVE | FOUND | {"scope", "basis", "depths", "margin", "confidence"}


def test_json_holds_the_contract(make_curve: Curve) -> None:
    (verdict,) = judge(make_curve(LINEAR))
    data = verdict.flat()
    assert set(data) >= CONTRACT
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["depths"] == [1, 2, 4]
    assert (data["margin"], data["confidence"], data["basis"]) == (0.10, 0.95, "wall")
    assert (data["model"], data["tokens"], data["width"]) == ("paraformer", 5, 64)
    assert data["verdict"] == "grows"
    assert [set(ratio) for ratio in data["ratios"]] == [{"depth", "ratio", "low", "high"}] * 3
    assert [ratio["ratio"] for ratio in data["ratios"]] == pytest.approx([1, 2, 4])
    assert list(data["worst"]) == ["from", "to", "ratio", "low", "high"]
    assert (data["worst"]["from"], data["worst"]["to"]) == (1, 4)
    assert set(data["exponent"]) == {"value", "low", "high"}
    assert data["exponent"]["value"] == pytest.approx(1)
    assert (data["missing"], data["speedup"], data["flags"]) == ([], [], [])


def test_one_verdict_for_every_curve_and_basis(make_curve: Curve) -> None:
    records = make_curve(LINEAR, events=FLAT) + make_curve(FLAT, width=128)
    got = [(v.curve.regime.get("width"), v.basis, v.verdict) for v in judge(records)]
    assert got == [(64, "wall", "grows"), (64, "device", "constant"), (128, "wall", "constant")]


def test_the_order_of_records_does_not_matter(make_curve: Curve) -> None:
    records = make_curve(LINEAR)
    assert judge(records) == judge(records[::-1])


def test_samples_of_a_block_count_as_their_median(make_curve: Curve) -> None:
    records = make_curve(FLAT)
    for record in records:
        record.wall_seconds = [*record.wall_seconds, 1e-9, 1e9]
    assert judge(records) == judge(make_curve(FLAT))


def test_out_of_memory_at_the_deepest(make_curve: Curve) -> None:
    (verdict,) = judge(make_curve({**FLAT, 8: ["oom", "skipped", "oom"]}))
    assert (verdict.verdict, verdict.constant_up_to, verdict.depths) == ("constant", 4, (1, 2, 4))
    (missing,) = verdict.missing
    assert (missing.depth, missing.status, missing.reason) == (8, "oom", "oom at 8")


def test_partial_times_of_failed_records_are_ignored(make_curve: Curve) -> None:
    records = make_curve({**FLAT, 8: ["timeout", "timeout", "timeout"]})
    for record in records:
        if record.status != "ok":
            record.wall_seconds = [50.0, 50.0]
            record.device_seconds = [50.0]
    got = judge(records)
    assert [(v.basis, v.verdict, v.depths) for v in got] == [("wall", "constant", (1, 2, 4))]


def test_a_depth_that_failed_in_some_blocks_counts_in_the_others(make_curve: Curve) -> None:
    (verdict,) = judge(make_curve({**LINEAR, 8: [8.0, "oom", 8.1]}))
    assert verdict.depths == (1, 2, 4, 8)
    assert verdict.missing == ()
    assert verdict.ratios[3].ratio == pytest.approx(math.sqrt(8.0 * 8.1 / 0.99))


def test_a_depth_without_device_times_is_missing_there(make_curve: Curve) -> None:
    records = make_curve(FLAT, events=FLAT)
    for record in records:
        if record.case.depth == 4:
            record.device_seconds = None
            record.null_reasons = {"device_seconds": "events failed"}
    wall, device = judge(records)
    assert (wall.missing, device.depths) == ((), (1, 2))
    assert [(m.depth, m.status, m.reason) for m in device.missing] == [(4, "ok", "events failed")]


def test_a_curve_without_times_has_no_verdict(make_curve: Curve) -> None:
    assert judge(make_curve({1: ["oom"], 2: ["skipped"]})) == []
    assert judge([]) == []


def test_flags_are_the_union_and_do_not_exclude(make_curve: Curve) -> None:
    records = make_curve(LINEAR)
    records[0].flags = ["unconverged"]
    records[5].flags = ["drift", "unconverged"]
    (verdict,) = judge(records)
    assert verdict.flags == ("drift", "unconverged")
    assert (verdict.verdict, verdict.blocks) == ("grows", 3)


def test_speedup_is_paired_with_the_serial_net_of_the_same_depth(make_curve: Curve) -> None:
    records = make_curve(LINEAR, model="serial", execution="loop") + make_curve(FLAT)
    for record in records:  # drift that both nets share
        record.wall_seconds = [record.wall_seconds[0] * (1, 7, 3)[record.block]]
    twin, verdict = judge(records)
    assert twin.speedup == ()
    assert [s.depth for s in verdict.speedup] == [1, 2, 4]
    assert [s.ratio for s in verdict.speedup] == pytest.approx([1, 2, 4 / 1.01], rel=1e-3)
    assert verdict.speedup[1].low == pytest.approx(2)
    assert verdict.speedup[1].high == pytest.approx(2)
    assert {s.against for s in verdict.speedup} == {twin.curve_id}


@pytest.mark.parametrize(
    "other", [{"runtime": "graph"}, {"batch": 7}, {"scope": "trunk"}, {"execution": "vmap"}]
)
def test_no_speedup_against_a_serial_net_of_another_kind(
    make_curve: Curve, other: dict[str, Any]
) -> None:
    serial = make_curve(LINEAR, **{"model": "serial", "execution": "loop"} | other)
    assert judge(serial + make_curve(FLAT))[1].speedup == ()


def test_speedup_of_longer_branches_is_against_the_serial_net_of_their_group(
    make_curve: Curve,
) -> None:
    serial = make_curve(LINEAR, model="serial", execution="loop")
    longer = make_curve({2: FLAT[2], 4: FLAT[4]}, branch_depth=2)
    _, verdict = judge(serial + longer)
    assert [s.depth for s in verdict.speedup] == [2, 4]


def test_curves_of_different_numbers_of_devices_are_judged_apart(make_curve: Curve) -> None:
    serial = make_curve(LINEAR, model="serial", execution="loop")
    records = serial + make_curve(LINEAR) + make_curve(FLAT, devices=4)
    _, one, four = judge(records)
    assert (one.curve.method.devices, one.verdict) == (1, "grows")
    assert (four.curve.method.devices, four.verdict) == (4, "constant")
    assert (one.curve.method.name, four.curve.method.name) == (
        "paraformer-stacked-eager",
        "paraformer-stacked-eager-n4",
    )
    assert four.flat()["devices"] == 4
    # The serial net has one device, whoever it is compared with.
    assert {s.against for s in four.speedup} == {serial[0].case.curve_id}


def test_speedup_of_one_common_block_has_no_bounds(make_curve: Curve) -> None:
    serial = make_curve({1: [2.0, None], 2: [4.0, "oom"]}, model="serial", execution="loop")
    _, verdict = judge(serial + make_curve({1: [1.0, 1.0], 2: [None, 1.0]}))
    (speedup,) = verdict.speedup
    assert (speedup.depth, speedup.low, speedup.high) == (1, None, None)
    assert speedup.ratio == pytest.approx(2)


def test_a_run_is_judged_by_the_claim_of_its_suite(
    make_curve: Curve, make_run: Callable[..., Run]
) -> None:
    rise = {1: [1.0, 1.01, 0.99], 2: [1.2, 1.212, 1.188]}
    records = make_curve(rise)
    (verdict,) = verdict_file(make_run(records))
    assert (verdict.verdict, verdict.margin, verdict.confidence) == ("grows", 0.10, 0.95)
    suite = {"claim": {"margin": 0.5, "confidence": 0.99}}
    (verdict,) = verdict_file(make_run(records, suite=suite))
    assert (verdict.verdict, verdict.margin, verdict.confidence) == ("constant", 0.5, 0.99)
    with pytest.raises(UsageError, match="margin must be a number"):
        verdict_file(make_run(records, suite={"claim": {"margin": "10%"}}))
    with pytest.raises(UsageError, match="confidence must be"):
        verdict_file(make_run([], suite={"claim": {"confidence": 2}}))


def test_block_median(make_case: Callable[..., Case]) -> None:
    record = Record(
        case=make_case(), block=0, order=0, status="ok", wall_seconds=[3.0, 1.0, 2.0, 10.0]
    )
    assert block_median(record, "wall") == 2.5
    assert log_median(record, "wall") == pytest.approx(math.log(2.5))
    assert math.isnan(block_median(record, "device"))
    record.wall_seconds = [0.0]
    assert math.isnan(log_median(record, "wall"))


@pytest.mark.parametrize("seconds", [1e-300, 1e300, 1.7e308])
def test_times_that_nobody_can_have_measured_are_none(make_curve: Curve, seconds: float) -> None:
    [verdict] = judge(make_curve({1: [1.0] * 2, 2: [seconds] * 2}))
    assert verdict.depths == (1,)
    assert [(lost.depth, lost.reason) for lost in verdict.missing] == [(2, "no wall times")]
    assert judge(make_curve({1: [seconds] * 2})) == []


@pytest.mark.parametrize("wrong", ["x", 1.5, []])
def test_a_claim_that_makes_no_sense_is_refused(
    make_run: Callable[..., Run], wrong: object
) -> None:
    with pytest.raises(UsageError, match=r"the claim in its run\.json is no table"):
        verdict_file(make_run([], suite={"claim": wrong}))
