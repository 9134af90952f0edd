"""The run folder on disk: its file names and how to read it. Writing is `sweep.store`'s."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.garbage import nothing_collected
from paraformer_bench.study.record import Record

REPORTS = Path("reports")
"""Where runs are kept, below the working directory."""

RUN = "run.json"
RECORDS = "records.jsonl"
VERDICTS = "verdicts.json"
PREDICTIONS = "predictions.json"
TIMELINES = "timelines.json"
PARQUET = "cases.parquet"
PAGE = "index.html"
JOURNAL = "journal.jsonl"
"""Events of the cases under way; emptied as soon as they have become records."""

_LONGEST = 300
"""Characters of a reason that are shown: it may quote a value of any length."""


@dataclass(frozen=True)
class Run:
    """A run as read from disk.

    Attributes:
        folder: Where it lies.
        info: Contents of ``run.json``.
        records: Every whole record, in the order they were written.
        warnings: What was wrong with the files, one line each.
    """

    folder: Path
    info: dict[str, Any]
    records: list[Record]
    warnings: list[str]


def read_run(folder: Path) -> Run:
    """Read a run folder; broken lines of the records are dropped with a warning.

    Raises:
        UsageError: ``folder`` holds no readable ``run.json``.
    """
    info = read_info(folder)
    records, warnings = read_records(folder / RECORDS)
    return Run(folder, info, records, warnings)


def read_info(folder: Path) -> dict[str, Any]:
    """Return the contents of ``run.json``.

    Raises:
        UsageError: ``folder`` holds no readable one.
    """
    path = folder / RUN
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is not a run folder: it has no {RUN}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if not isinstance(info, dict):
        raise UsageError(f"cannot read {path}: it holds no JSON object")
    return info


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """Return the whole records of a ``records.jsonl`` and a warning for each line dropped.

    A line without its newline is torn, whatever it holds: its writer died in the middle. A
    second record of the same case and block is dropped too: the first one stands.
    """
    pairs, warnings = read_record_lines(path)
    return [record for record, _ in pairs], warnings


def read_record_lines(path: Path) -> tuple[list[tuple[Record, bytes]], list[str]]:
    """As `read_records`, with the line that each record was read from."""
    # Nothing read here becomes garbage, and the collector would walk through it again and again,
    # now and whenever there are many new objects: half of the time that a large run takes.
    with nothing_collected():
        try:
            return _parse(path.name, read_lines(path))
        finally:
            gc.freeze()


def read_lines(path: Path) -> list[bytes]:
    """Return the non-blank lines of a file with their newlines; none if it does not exist."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in data.splitlines(keepends=True) if line.strip()]


def _parse(name: str, lines: Iterable[bytes]) -> tuple[list[tuple[Record, bytes]], list[str]]:
    pairs: list[tuple[Record, bytes]] = []
    warnings: list[str] = []
    seen: set[tuple[str, int]] = set()
    cases: dict[Case, Case] = {}
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            warnings.append(f"{name} line {number} dropped: torn (no newline at its end)")
            continue
        try:
            record = Record.from_json(json.loads(line))
            record.case = cases.setdefault(record.case, record.case)  # it names itself once
            if record.key in seen:
                raise UsageError(f"second record of {record.key}")
        except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
            why = str(error) if isinstance(error, UsageError) else repr(error)
            warnings.append(f"{name} line {number} dropped: {why[:_LONGEST]}")
            continue
        seen.add(record.key)
        pairs.append((record, line))
    return pairs, warnings


def now() -> str:
    """Return the time as ISO text in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
