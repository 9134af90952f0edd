"""Reading a trace: Kineto's Chrome JSON, packed or not, to a table of its events.

The fields are those of Kineto's ``output_json.cpp`` and ``CuptiActivity.h``.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pandas as pd

HOST_OPERATION, ANNOTATION, MEMORY = "cpu_op", "user_annotation", "cpu_instant_event"
CALLS = ("cuda_runtime", "cuda_driver")
KERNEL = "kernel"
ON_DEVICE = (KERNEL, "gpu_memcpy", "gpu_memset")

_SPANS = frozenset((HOST_OPERATION, ANNOTATION, *CALLS, *ON_DEVICE))
_MOST_NANOSECONDS = 1 << 62

COLUMNS = {
    "kind": "object",  # one of the names above
    "name": "object",
    "start": "int64",  # ns
    "end": "int64",  # ns
    "thread": "object",  # process and thread of the host
    "device": "int64",  # number of the GPU; -1: none
    "stream": "int64",  # -1: none
    "correlation": "int64",  # the same for a call and what it launched; 0: none
    "node": "int64",  # of a CUDA graph; 0: none
    "registers": "int64",  # per thread
    "shared": "int64",  # bytes of shared memory per block
    "threads": "int64",  # in a block
    "blocks": "float64",  # thread blocks per SM; NaN: not said
    "elements": "int64",  # of all tensors that go into a host operation
    "bytes": "int64",  # that were allocated, negative: freed
    "on_gpu": "int64",  # whether these bytes are a GPU's
}
"""Columns of the table of events and their types."""

_WHOLE_NUMBERS = {
    "device": -1,
    "stream": -1,
    "correlation": 0,
    "graph node id": 0,
    "registers per thread": 0,
    "shared memory": 0,
}
"""What Kineto calls the whole numbers among them, and what they are where it does not say."""

MOST_BYTES = 400_000_000
"""Unpacked traces beyond this are refused; reading takes up to four times their size in memory."""


@dataclass(frozen=True)
class Trace:
    """The events of one trace that timelines are made of.

    Attributes:
        reason: Why it cannot be read, in one line; empty otherwise.
        events: One row each, see `COLUMNS`; times in whole nanoseconds.
        devices: Kineto's properties of each GPU, by its number.
        malformed: Events that were left out because a field of theirs makes no sense.
    """

    reason: str
    events: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(COLUMNS)))
    devices: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    malformed: int = 0


class _UnreadableError(Exception):
    """The file is no trace, or not one that can be read; the message says why."""


def read_trace(path: Path, most_bytes: int = MOST_BYTES) -> Trace:
    """Read a trace, packed or not, as its first bytes say.

    A broken one is a result: nothing is raised for it, nor for one that is longer than
    ``most_bytes`` when unpacked.
    """
    try:
        return _parse(_text(path, most_bytes))
    except _UnreadableError as error:
        return Trace(str(error))


def _text(path: Path, most_bytes: int) -> str:
    try:
        with path.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _UnreadableError("the packed trace is cut off or damaged") from None
    except OSError as error:
        raise _UnreadableError(f"the trace cannot be opened: {error.strerror or error}") from None
    if len(data) > most_bytes:
        limit = f"{most_bytes / 1e6:.0f} MB"
        raise _UnreadableError(f"the trace is too large: more than {limit} unpacked")
    if not data:
        raise _UnreadableError("the trace is empty")
    # Names of kernels can hold any byte; none of them decides anything.
    return data.decode("utf-8", errors="replace")


def _parse(text: str) -> Trace:
    rows: list[tuple[Any, ...]] = []
    malformed = 0

    def keep(value: dict[str, Any]) -> dict[str, Any] | None:
        """Take each event when it is complete, so that the tree of all is never in memory."""
        nonlocal malformed
        if "ph" not in value:
            return value
        kind = value.get("cat")
        try:
            if value["ph"] == "X" and kind in _SPANS:
                rows.append(_span(kind, value))
            elif kind == MEMORY and value.get("name") == "[memory]":
                rows.append(_allocation(value))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            malformed += 1
        return None

    try:
        # Times are kept as text: microseconds since 1970 as floats are off by up to 125 ns.
        root = json.loads(text, object_hook=keep, parse_float=str, strict=False)
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"the trace is no whole JSON: {error}") from None
    if not isinstance(root, dict) or not isinstance(root.get("traceEvents"), list):
        raise _UnreadableError("the file is JSON, but no trace: it has no list of events")
    if all(row[0] in (ANNOTATION, MEMORY) for row in rows):
        raise _UnreadableError("the trace holds no operations, only what describes it")
    listed = root.get("deviceProperties")
    devices = {
        device["id"]: device
        for device in (listed if isinstance(listed, list) else [])
        if isinstance(device, dict) and isinstance(device.get("id"), int)
    }
    events = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    # By start, those around others first.
    events = events.sort_values(
        ["start", "end"], ascending=[True, False], kind="stable", ignore_index=True
    )
    return Trace("", events, devices, malformed)


def _span(kind: str, event: Mapping[str, Any]) -> tuple[Any, ...]:
    start, length = _nanoseconds(event["ts"]), _nanoseconds(event.get("dur", 0))
    if length < 0:
        raise ValueError("an event ends before it starts")
    args = event.get("args") or {}
    return (
        kind,
        sys.intern(event["name"]),  # there are few names and many events
        start,
        start + length,
        _thread(event),
        *(_whole(args.get(name, missing)) for name, missing in _WHOLE_NUMBERS.items()),
        _whole(math.prod(int(side) for side in args.get("block", ()))),
        float(args.get("blocks per SM", math.nan)),
        _whole(_elements(args.get("Input Dims", ()))),
        0,
        0,
    )


def _allocation(event: Mapping[str, Any]) -> tuple[Any, ...]:
    at = _nanoseconds(event["ts"])
    args = event["args"]
    # Device types are numbered as in c10/core/DeviceType.h: 0 is the CPU.
    on_gpu = int(args.get("Device Type", 0)) != 0
    device, size = _whole(args.get("Device Id", -1)), _whole(args["Bytes"])
    unused = (-1, 0, 0, 0, 0, 0, math.nan, 0)
    return (MEMORY, "[memory]", at, at, _thread(event), device, *unused, size, on_gpu)


def _thread(event: Mapping[str, Any]) -> str:
    return sys.intern(f"{event.get('pid')}/{event.get('tid')}")


def _nanoseconds(microseconds: int | str) -> int:
    """Return a time as whole nanoseconds, exactly; a ValueError if no clock can show it."""
    try:
        time = (Decimal(microseconds) * 1000).to_integral_value()
    except InvalidOperation:
        raise ValueError(f"{microseconds!r} is no time") from None
    if not time.is_finite() or abs(time) >= _MOST_NANOSECONDS:
        raise ValueError(f"{microseconds!r} is no time")
    return int(time)


def _whole(value: Any) -> int:
    """Return a whole number that fits the table."""
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{value!r} is out of range")
    return number


def _elements(shapes: Any) -> int:
    """Elements of all tensors in Kineto's ``Input Dims``: lists of shapes, nested for lists."""
    if not shapes:
        return 0
    if isinstance(shapes[0], int):
        return math.prod(shapes)
    return sum(map(_elements, shapes))
