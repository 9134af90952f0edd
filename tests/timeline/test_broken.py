"""Files that are no whole trace: each is a reason, and nothing is raised."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.timeline.metrics import examine
from paraformer_bench.timeline.timeline import INCOMPLETE
from paraformer_bench.timeline.trace import read_trace

CUT = "the packed trace is cut off or damaged"
METADATA = {"ph": "M", "name": "process_name", "pid": 1, "tid": 1, "ts": 1.5, "args": {}}


def whole(builder: Any) -> Path:
    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000)
        builder.kernel(0, 5_000, 6_000)

    path: Path = builder.steps(fill).write()
    return path


def reason(path: Path) -> str:
    trace = read_trace(path)
    assert trace.reason
    view = examine(path)
    assert view.timeline.kind == INCOMPLETE
    assert view.timeline.reason == trace.reason
    assert "\n" not in trace.reason
    assert view.operations.empty
    assert view.memory.empty
    return trace.reason


@pytest.mark.parametrize("data", [b"", gzip.compress(b"", mtime=0)])
def test_empty(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.json.gz"
    path.write_bytes(data)
    assert reason(path) == "the trace is empty"


def test_cut_off_anywhere(builder: Any) -> None:
    path = whole(builder)
    data = path.read_bytes()
    for length in (2, 3, 11, len(data) // 2, len(data) - 9, len(data) - 1):
        path.write_bytes(data[:length])
        assert reason(path) == CUT


def test_damaged(builder: Any) -> None:
    path = whole(builder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert reason(path) == CUT


@pytest.mark.parametrize("text", ["{", '{"traceEvents": [{"ph": "X"}', "[" * 100_000, "nonsense"])
def test_broken_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    assert reason(path).startswith("the trace is no whole JSON: ")


@pytest.mark.parametrize("text", ["[]", "3", '{"traceEvents": 3}', '{"ph": "X"}'])
def test_other_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    assert reason(path) == "the file is JSON, but no trace: it has no list of events"


@pytest.mark.parametrize("events", [[], [METADATA]])
def test_metadata_only(tmp_path: Path, events: list[Any]) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": events}))
    assert reason(path) == "the trace holds no operations, only what describes it"


def test_no_file(tmp_path: Path) -> None:
    assert (
        reason(tmp_path / "none.json.gz")
        == "the trace cannot be opened: No such file or directory"
    )
    assert reason(tmp_path) == "the trace cannot be opened: Is a directory"


def test_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    path.write_bytes(gzip.compress(b" " * 5_000_000))
    trace = read_trace(path, most_bytes=4_000_000)
    assert trace.reason
    assert trace.reason == "the trace is too large: more than 4 MB unpacked"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ts", "soon"),
        ("ts", None),
        ("ts", 10**400),
        ("dur", -1),
        ("dur", "NaN"),
        ("name", None),
        ("args", [1]),
        ("args", {"correlation": "x"}),
        ("args", {"stream": 1 << 70}),
        ("args", {"stream": float("inf")}),
        ("args", {"blocks per SM": "many"}),
        ("args", {"block": 3}),
    ],
)
def test_an_event_that_makes_no_sense(builder: Any, field: str, value: object) -> None:
    path = whole(builder)
    builder.events[-1][field] = value
    builder.write()
    trace = read_trace(path)
    assert (trace.reason, trace.malformed) == ("", 1)
    timeline = examine(path).timeline
    assert timeline.kind == INCOMPLETE
    assert timeline.reason == "1 events have fields that make no sense"


def test_events_without_steps(builder: Any) -> None:
    path = whole(builder)
    builder.events = [event for event in builder.events if event["cat"] != "user_annotation"]
    builder.write()
    assert examine(path).timeline.reason.startswith("only 0 steps are left")


def test_launches_without_any_kernel(builder: Any) -> None:
    path = whole(builder)
    builder.events = [event for event in builder.events if event["cat"] != "kernel"]
    builder.write()
    assert examine(path).timeline.reason == "3 of 3 steps ran no kernels"
