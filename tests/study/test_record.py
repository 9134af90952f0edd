from __future__ import annotations

import json
import math
from typing import Any

import pytest

from paraformer_bench.study import wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.record import BROKEN, FLAGS, READER, STATUSES, Record

CASE = Case.of(
    model="serial",
    execution="loop",
    runtime="eager",
    depth=4,
    width=192,
    batch=1,
    image=224,
    patch=16,
    heads=3,
    branch_depth=1,
    dtype="float32",
    device="cpu",
)
FULL = Record(
    case=CASE,
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


def read(data: dict[str, Any]) -> Record:
    """Read a record as it stands in a file; JSON has no word for NaN and infinity, Python does."""
    record: Record = READER.decode(json.dumps(data))
    return record


@pytest.mark.parametrize(
    "record",
    [FULL, Record(case=CASE, block=0, order=None, status="error", reason="two\nlines, \u00fc")],
)
def test_json_round_trip_is_exact(record: Record) -> None:
    line = record.line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert READER.decode(line) == record


def test_line_holds_the_keys_of_the_contract() -> None:
    data = json.loads(FULL.line())
    promised = (
        "case case_id block order status reason wall_seconds device_seconds peak_bytes "
        "reserved_bytes parameter_bytes flops energy_joules telemetry flags"
    )
    assert set(promised.split()) <= set(data)
    assert data["case_id"] == CASE.id
    assert data["case"] == CASE.flat()


def test_records_of_newer_versions_are_read() -> None:
    data = json.loads(FULL.line()) | {"colour": "red"}
    assert read(data) == FULL


@pytest.mark.parametrize("key", ["case", "block", "status"])
def test_record_without_its_key_is_refused(key: str) -> None:
    data = json.loads(FULL.line())
    del data[key]
    with pytest.raises(wire.Malformed):
        read(data)


def test_nan_never_reaches_the_disk() -> None:
    record = Record(case=CASE, block=0, status="ok", relative_error=math.nan)
    assert json.loads(record.line())["relative_error"] is None


def test_records_do_not_share_their_lists() -> None:
    a, b = (
        Record(case=CASE, block=0, order=0, status="ok"),
        Record(case=CASE, block=1, order=0, status="ok"),
    )
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


FIELDS = [name for name in Record.__struct_fields__ if name != "case"]
WRONG = (None, "x", -1, 1.5, [], {}, True, 10**400, math.nan, math.inf, ["x"], [None], {"a": 1})
WHOLE = ("peak_bytes", "reserved_bytes", "parameter_bytes", "flops", "operations")
RIGHT: dict[str, tuple[Any, ...]] = {
    "order": (None,),
    "reason": (None, "x"),
    "wall_seconds": ([],),
    "device_seconds": (None, []),
    "rounds": ([],),
    **dict.fromkeys(WHOLE, (None, -1)),
    "work": (None, []),
    **dict.fromkeys(("energy_joules", "relative_error", "compile_seconds"), (None, -1, 1.5)),
    "telemetry": ({}, {"a": 1}),
    "null_reasons": ({},),
    "flags": ([], ["x"]),
}
"""Which of `WRONG` a field can be after all."""


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in FIELDS for value in WRONG if value not in RIGHT.get(name, ())],
)
def test_a_field_of_the_wrong_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(wire.Malformed, match=f"{name}|out of range|malformed"):
        read(json.loads(FULL.line()) | {name: value})


@pytest.mark.parametrize("name", RIGHT)
def test_what_a_field_can_be_is_read(name: str) -> None:
    for value in RIGHT[name]:
        data = json.loads(FULL.line()) | {"rounds": [], name: value}
        assert getattr(read(data), name) == value


@pytest.mark.parametrize(
    "times", [[math.nan], [1e-3, math.nan], [math.inf], [True], [[1.0]], [10**400], [1e308, "x"]]
)
@pytest.mark.parametrize("name", ["wall_seconds", "device_seconds"])
def test_times_are_finite_numbers(name: str, times: list[Any]) -> None:
    with pytest.raises(wire.Malformed, match=f"{name}|out of range|malformed"):
        read(json.loads(FULL.line()) | {name: times, "rounds": []})


@pytest.mark.parametrize("times", [[0.0], [-1e-9, 1.0], [1], [1e308] * 3])
def test_times_may_be_anything_finite(times: list[float]) -> None:
    data = json.loads(FULL.line()) | {"wall_seconds": times, "rounds": [len(times)]}
    assert read(data).wall_seconds == times


def test_rounds_beyond_the_samples_are_refused() -> None:
    with pytest.raises(wire.Malformed, match="rounds must not hold more samples"):
        read(json.loads(FULL.line()) | {"rounds": [10**18]})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("depth", value) for value in (None, "4", 0, -4, 4.0, True, 10**30, [4], math.nan)),
        *(("heads", value) for value in (None, 5, math.nan)),
        *(("model", value) for value in (None, 7, ["serial"])),
        *(("device", None), ("dtype", None), ("mode", 3), ("patch", 0), ("devices", "1")),
    ],
)
def test_a_case_that_cannot_be_is_refused(field: str, value: object) -> None:
    data = json.loads(FULL.line())
    data["case"][field] = value
    with pytest.raises(wire.Malformed, match=f"{field}|malformed"):
        read(data)


def test_records_of_older_versions_are_read() -> None:
    """They have no keys but the first."""
    data = json.loads(FULL.line())
    old = {name: data[name] for name in ("case", "block", "order", "status", "wall_seconds")}
    del old["case"]["devices"]
    assert read(old) == Record(
        case=CASE, block=3, order=2, status="ok", wall_seconds=list(FULL.wall_seconds)
    )


def test_words_of_another_version_are_read() -> None:
    """A precision that this version does not know is no reason to drop what was measured."""
    line = json.loads(Record(case=CASE, block=0, order=0, status="ok", wall_seconds=[1.0]).line())
    line["case"] |= {"dtype": "float8", "mode": "decode"}
    assert read(line).case.dtype == "float8"
