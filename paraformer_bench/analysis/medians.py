"""The observation of all statistics: the median time of one case in one block."""

from __future__ import annotations

import math
from statistics import median

from paraformer_bench.record import Record

BASES = ("wall", "device")
"""Host clock around a synchronised call; device time between two events."""


def block_median(record: Record, basis: str) -> float:
    """Median seconds of a record's timed calls; NaN where it has no valid times.

    Only status ``ok`` counts: a case that failed half-way may carry the times of its first calls.

    Args:
        record: One case in one block.
        basis: One of `BASES`.
    """
    times = record.wall_seconds if basis == "wall" else record.device_seconds
    if record.status != "ok" or not times:
        return math.nan
    return median(times)


def log_median(record: Record, basis: str) -> float:
    """Natural logarithm of `block_median`; NaN also where that is not a positive time."""
    seconds = block_median(record, basis)
    return math.log(seconds) if 0 < seconds < math.inf else math.nan


def sentinel_seconds(record: Record) -> float | None:
    """Median time of the sentinel net around the samples of a record; None where it has none."""
    seconds = record.telemetry.get("sentinel_seconds")
    held = [s for s in seconds if 0 < s < math.inf] if isinstance(seconds, list) else []
    return median(held) if held else None
