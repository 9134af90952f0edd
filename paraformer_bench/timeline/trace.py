"""Reading a trace: Kineto's Chrome JSON, packed or not, to a table of its events."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from paraformer_bench.timeline.event import COLUMNS, Columns

MOST_BYTES = 400_000_000
"""Unpacked traces beyond this are refused; reading takes up to four times their size in memory."""

_CHUNK = 1 << 20

OK, UNREADABLE = "ok", "unreadable"


@dataclass(frozen=True)
class Trace:
    """The events of one trace that timelines are made of.

    Attributes:
        status: ``ok`` or ``unreadable``.
        reason: Why it cannot be read, in one line; empty otherwise.
        events: One row each, see `event.COLUMNS`; times in whole nanoseconds.
        devices: Kineto's properties of each GPU, by its number.
        malformed: Events that were left out because a field of theirs makes no sense.
    """

    status: str
    reason: str
    events: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    devices: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    malformed: int = 0


class _Refused(Exception):
    """The file is no trace, or not one that can be read; the message says why."""


def read_trace(path: Path, most_bytes: int = MOST_BYTES) -> Trace:
    """Read a trace. A broken one is a result: nothing is raised for it.

    Args:
        path: ``*.json`` or ``*.json.gz``; what it is, its first bytes say.
        most_bytes: Refuse what is longer than this when unpacked.
    """
    try:
        return _parse(_text(path, most_bytes))
    except _Refused as refused:
        return Trace(UNREADABLE, str(refused))


def _text(path: Path, most_bytes: int) -> str:
    chunks, size = [], 0
    try:
        with path.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                size += len(chunk)
                if size > most_bytes:
                    limit = f"{most_bytes / 1e6:.0f} MB"
                    raise _Refused(f"the trace is too large: more than {limit} unpacked")
                chunks.append(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _Refused("the packed trace is cut off or damaged") from None
    except OSError as error:
        raise _Refused(f"the trace cannot be opened: {error.strerror or error}") from None
    if not size:
        raise _Refused("the trace is empty")
    # Names of kernels can hold any byte; none of them decides anything.
    return b"".join(chunks).decode("utf-8", errors="replace")


def _parse(text: str) -> Trace:
    columns = Columns()

    def keep(value: dict[str, Any]) -> dict[str, Any] | None:
        """Take each event when it is complete, so that the tree of all is never in memory."""
        if "ph" not in value:
            return value
        columns.add(value)
        return None

    try:
        # Times are kept as text: microseconds since 1970 as floats are off by up to 125 ns.
        root = json.loads(text, object_hook=keep, parse_float=str, strict=False)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"the trace is no whole JSON: {error}") from None
    if not isinstance(root, dict) or not isinstance(root.get("traceEvents"), list):
        raise _Refused("the file is JSON, but no trace: it has no list of events")
    if not columns.any:
        raise _Refused("the trace holds no operations, only what describes it")
    return Trace(OK, "", columns.table(), _devices(root), columns.malformed)


def _devices(root: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    listed = root.get("deviceProperties")
    return {
        one["id"]: one
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and isinstance(one.get("id"), int)
    }
