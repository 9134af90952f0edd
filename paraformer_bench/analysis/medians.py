"""What statistics take from a record: the median time of one case in one block."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from statistics import median
from typing import TypeVar

from paraformer_bench.study.record import STATUSES, Record

Key = TypeVar("Key", bound=Hashable)

BASES = ("wall", "device")
"""Host clock around a synchronised call; device time between two events."""
_SHORTEST, _LONGEST = 1e-15, 1e15
"""No clock tells less and no run takes longer (s): ratios of what is beyond overflow."""


def block_median(record: Record, basis: str) -> float:
    """Median seconds of a record's timed calls on one of `BASES`; NaN without valid times.

    Only status ``ok`` counts: a case that failed half-way may carry the times of its first calls.
    A median of zero or below is returned as it is, one that nobody can have measured is NaN.
    """
    times = record.wall_seconds if basis == "wall" else record.device_seconds
    if record.status != "ok" or not times:
        return math.nan
    seconds = median(times)
    return seconds if seconds <= 0 or _SHORTEST <= seconds <= _LONGEST else math.nan


def log_median(record: Record, basis: str) -> float:
    """Natural logarithm of `block_median`; NaN also where that is not a positive time."""
    seconds = block_median(record, basis)
    return math.log(seconds) if 0 < seconds < math.inf else math.nan


def sentinel_seconds(record: Record) -> float | None:
    """Median time of the sentinel net around the samples of a record; None where it has none."""
    readings = record.telemetry.get("sentinel_seconds")
    if not isinstance(readings, list):
        return None
    times = [s for s in readings if isinstance(s, float) and 0 < s < math.inf]
    return median(times) if times else None


def grouped(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """Return the records by what ``key`` says of them, both in the order of the records."""
    groups: dict[Key, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def worst_of(records: Iterable[Record]) -> Record:
    """Return the first record with the worst status."""
    return max(records, key=lambda record: STATUSES.index(record.status))
