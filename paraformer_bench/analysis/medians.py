"""The observation of all statistics: the median time of one case in one block."""

from __future__ import annotations

import math
from statistics import median

from paraformer_bench.study.record import Record

BASES = ("wall", "device")
"""Host clock around a synchronised call; device time between two events."""
_SHORTEST, _LONGEST = 1e-15, 1e15
"""No clock tells less and no run takes longer (s): ratios of what is beyond overflow."""


def block_median(record: Record, basis: str) -> float:
    """Median seconds of a record's timed calls; NaN where it has no valid times.

    Only status ``ok`` counts: a case that failed half-way may carry the times of its first calls.
    A median of zero or below is returned as it is, one that nobody can have measured is NaN.

    Args:
        record: One case in one block.
        basis: One of `BASES`.
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
    seconds = record.telemetry.get("sentinel_seconds")
    if not isinstance(seconds, list):
        return None
    held = [s for s in seconds if isinstance(s, float) and 0 < s < math.inf]
    return median(held) if held else None
