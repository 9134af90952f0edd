from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import (
    RECORDS,
    RUN,
    RunInfo,
    read_lines,
    read_records,
    read_run,
)


def record(depth: int, block: int = 0, seconds: float = 1.0) -> Record:
    case = Case.of(
        model="serial",
        execution="loop",
        runtime="eager",
        depth=depth,
        width=64,
        batch=1,
        image=64,
        patch=16,
        heads=1,
        branch_depth=1,
        dtype="float32",
        device="cpu",
    )
    return Record(case=case, block=block, order=0, status="ok", wall_seconds=[seconds])


ONE, TWO = record(1), record(2)


def test_read_run(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text('{"name": "x"}')
    (tmp_path / RECORDS).write_bytes(ONE.line() + TWO.line())
    run = read_run(tmp_path)
    assert (run.folder, run.info, run.records, run.warnings) == (
        tmp_path,
        RunInfo(name="x"),
        [ONE, TWO],
        [],
    )


def test_run_without_records(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text("{}")
    assert read_run(tmp_path).records == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a run folder: it has no run.json"),
        ("", "cannot read .*run.json: "),
        ("{", "cannot read .*run.json: "),
        ("[1]", "it holds no JSON object"),
        ("null", "it holds no JSON object"),
        ("\udcff{}", "cannot read .*run.json: 'utf-8'"),
        ("[" * 200_000, "cannot read .*run.json: maximum recursion depth"),
    ],
)
def test_folder_that_is_no_run(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / RUN).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=message):
        read_run(tmp_path)


def test_line_torn_anywhere_is_dropped(tmp_path: Path) -> None:
    """Also where all but the newline is there: a resumed sweep cuts it off and measures again."""
    path = tmp_path / RECORDS
    for length in range(1, len(TWO.line())):
        path.write_bytes(ONE.line() + TWO.line()[:length])
        records, warnings = read_records(path)
        assert records == [ONE]
        assert warnings == ["records.jsonl line 2 dropped: torn (no newline at its end)"]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "null",
        '"text"',
        "7",
        "{}",
        '{"case": null, "block": 0, "order": 0, "status": "ok"}',
        '{"case": {}, "block": 0, "order": 0, "status": "ok"}',
        json.dumps(json.loads(TWO.line()) | {"case": {"model": "x"}}),
        json.dumps({k: v for k, v in json.loads(TWO.line()).items() if k != "block"}),
        "\udcff",
        "[" * 200_000,
        *(
            json.dumps(json.loads(TWO.line()) | wrong)
            for wrong in (
                {"wall_seconds": [None]},
                {"wall_seconds": [1.0, math.nan]},
                {"wall_seconds": 1.0},
                {"block": []},
                {"block": {"a": 1}},
                {"status": "fine"},
                {"flags": [None]},
                {"case": TWO.case.flat() | {"depth": 0}},
                {"case": TWO.case.flat() | {"model": None}},
                {"case": TWO.case.flat() | {"depth": "1" * 10_000}},
            )
        ),
    ],
    ids=lambda line: line[-40:],
)
def test_broken_line_in_the_middle_is_dropped(tmp_path: Path, line: str) -> None:
    path = tmp_path / RECORDS
    path.write_bytes(ONE.line() + line.encode(errors="surrogateescape") + b"\n" + TWO.line())
    records, [warning] = read_records(path)
    assert records == [ONE, TWO]
    assert warning.startswith("records.jsonl line 2 dropped: ")
    assert "\n" not in warning
    assert len(warning) < 400


def test_first_of_two_records_stands(tmp_path: Path) -> None:
    path = tmp_path / RECORDS
    path.write_bytes(ONE.line() + record(1, seconds=2.0).line() + record(1, block=1).line())
    records, [warning] = read_records(path)
    assert records == [ONE, record(1, block=1)]
    assert warning.startswith("records.jsonl line 2 dropped: second record of ")


def test_read_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert read_lines(path) == []
    path.write_bytes(b"a\n\n  \nb\r\nc")
    assert read_lines(path) == [b"a\n", b"b\r\n", b"c"]
