"""What is kept of an event of a trace.

The fields are those of Kineto's ``output_json.cpp`` and ``CuptiActivity.h``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
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
    "blocks": "float64",  # thread blocks per SM; NaN: not said
    "threads": "int64",  # in a block
    "registers": "int64",  # per thread
    "shared": "int64",  # bytes of shared memory per block
    "elements": "int64",  # of all tensors that go into a host operation
    "bytes": "int64",  # that were allocated, negative: freed
    "on_gpu": "int64",  # whether these bytes are a GPU's
}
"""Columns of the table of events and their types."""


class Columns:
    """Collects events column by column.

    Attributes:
        malformed: Events that were left out because a field of theirs makes no sense.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        self._names: dict[str, str] = {}
        self.malformed = 0

    @property
    def any(self) -> bool:
        """Whether there is anything that ran."""
        return any(row[0] not in (ANNOTATION, MEMORY) for row in self._rows)

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep an event if it is of a kind that counts."""
        kind = event.get("cat")
        try:
            if event["ph"] == "X" and kind in _SPANS:
                self._rows.append(self._span(str(kind), event))
            elif kind == MEMORY and event.get("name") == "[memory]":
                self._rows.append(self._allocation(event))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            self.malformed += 1

    def table(self) -> pd.DataFrame:
        """Return the events, ordered by start, those around others first."""
        frame = pd.DataFrame(self._rows, columns=list(COLUMNS)).astype(COLUMNS)
        order = {"start": True, "end": False}
        return frame.sort_values(
            list(order), ascending=list(order.values()), kind="stable", ignore_index=True
        )

    def _span(self, kind: str, event: Mapping[str, Any]) -> tuple[Any, ...]:
        start = nanoseconds(event["ts"])
        length = nanoseconds(event.get("dur", 0))
        if length < 0:
            raise ValueError("an event ends before it starts")
        args = event.get("args") or {}
        return (
            kind,
            self._shared(event["name"]),
            start,
            start + length,
            self._shared(f"{event.get('pid')}/{event.get('tid')}"),
            _whole(args.get("device", -1)),
            _whole(args.get("stream", -1)),
            _whole(args.get("correlation", 0)),
            _whole(args.get("graph node id", 0)),
            float(args.get("blocks per SM", math.nan)),
            _whole(math.prod(int(side) for side in args.get("block", ()))),
            _whole(args.get("registers per thread", 0)),
            _whole(args.get("shared memory", 0)),
            _whole(_elements(args.get("Input Dims", ()))),
            0,
            0,
        )

    def _allocation(self, event: Mapping[str, Any]) -> tuple[Any, ...]:
        at = nanoseconds(event["ts"])
        args = event["args"]
        # Device types are numbered as in c10/core/DeviceType.h: 0 is the CPU.
        on_gpu = int(args.get("Device Type", 0)) != 0
        device = _whole(args.get("Device Id", -1))
        thread = self._shared(f"{event.get('pid')}/{event.get('tid')}")
        unused = (-1, 0, 0, math.nan, 0, 0, 0, 0)
        return (MEMORY, "[memory]", at, at, thread, device, *unused, _whole(args["Bytes"]), on_gpu)

    def _shared(self, text: str) -> str:
        """Return one object for equal texts: there are few names and many events."""
        if not isinstance(text, str):
            raise TypeError("a name is no text")
        return self._names.setdefault(text, text)


def nanoseconds(microseconds: int | str) -> int:
    """Return a time as whole nanoseconds, exactly.

    Raises:
        ValueError: It is no number, or none that a clock can show.
    """
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
