from __future__ import annotations

import json
import math

import pytest

from paraformer_bench.case import Case
from paraformer_bench.record import BROKEN, FLAGS, STATUSES, Record

CASE = Case("serial", "loop", "eager", 4, 192, 1, 224, 16, 3, 1, "float32", "cpu")
FULL = Record(
    CASE,
    block=3,
    order=2,
    status="ok",
    reason=None,
    wall_seconds=[0.1, 1 / 3, 1e-9],
    device_seconds=[0.05],
    rounds=[2, 1],
    peak_bytes=2**40,
    reserved_bytes=1,
    parameter_bytes=7,
    flops=10**15,
    operations=12,
    energy_joules=0.25,
    relative_error=1e-7,
    warmup_calls=9,
    telemetry={"readings": [{"sm_clock_hz": 1}]},
    null_reasons={"x": "why"},
    flags=["drift"],
)


@pytest.mark.parametrize("record", [FULL, Record(CASE, 0, None, "error", "two\nlines, \u00fc")])
def test_json_round_trip_is_exact(record: Record) -> None:
    line = record.to_line()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert Record.from_json(json.loads(line)) == record


def test_line_holds_the_keys_of_the_contract() -> None:
    data = json.loads(FULL.to_line())
    promised = (
        "case case_id block order status reason wall_seconds device_seconds peak_bytes "
        "reserved_bytes parameter_bytes flops energy_joules telemetry flags"
    )
    assert set(promised.split()) <= set(data)
    assert data["case_id"] == CASE.id
    assert data["case"] == CASE.to_json()


def test_records_of_newer_versions_are_read() -> None:
    data = json.loads(FULL.to_line()) | {"colour": "red"}
    assert Record.from_json(data) == FULL


@pytest.mark.parametrize("key", ["case", "block", "order", "status"])
def test_record_without_its_key_is_refused(key: str) -> None:
    data = json.loads(FULL.to_line())
    del data[key]
    with pytest.raises((KeyError, TypeError)):
        Record.from_json(data)


def test_nan_never_reaches_the_disk() -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        Record(CASE, 0, 0, "ok", wall_seconds=[math.nan]).to_line()


def test_records_do_not_share_their_lists() -> None:
    a, b = Record(CASE, 0, 0, "ok"), Record(CASE, 1, 0, "ok")
    a.wall_seconds.append(1.0)
    a.flags.append("drift")
    a.telemetry["x"] = 1
    assert (b.wall_seconds, b.flags, b.telemetry) == ([], [], {})
    assert a.key != b.key


def test_words() -> None:
    assert set(BROKEN) < set(STATUSES)
    assert {"ok", "skipped", "oom"}.isdisjoint(BROKEN)
    promised = (
        "throttled clock_drop drift unconverged queue_dry recompiled foreign_process "
        "too_few_samples"
    )
    assert set(promised.split()) <= set(FLAGS)
