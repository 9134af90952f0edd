"""What can be said of several jobs together: the machines, the software and the time of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paraformer_bench.study.calibration import Calibration


def together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ``run.json`` of a merged run says of all its parts.

    Args:
        parts: What is kept of each.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, AttributeError: They make no sense.
    """
    return {
        "environment": _environment(parts),
        "versions": _common([part["versions"] for part in parts]),
        "calibration": _worst_calibration(parts),
        "efficiency": _efficiency(parts),
    }


def efficiency(wall: float, busy: float) -> dict[str, float | None]:
    """Return what ``run.json`` says of so many seconds, of which so many were busy."""
    share = round(busy / wall, 4) if wall else None
    return {"wall_seconds": wall, "busy_seconds": busy, "share": share}


def _environment(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is the same of all machines, and the names of all of them."""
    common = _common([part["environment"] for part in parts])
    names = dict.fromkeys(
        str((part["environment"].get("host") or {}).get("name")) for part in parts
    )
    return common | {"host": common.get("host", {}) | {"name": ", ".join(names)}}


def _common(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all tables say alike, at every depth."""
    found: dict[str, Any] = {}
    for key, first in tables[0].items():
        values = [table.get(key) for table in tables]
        if all(isinstance(value, Mapping) for value in values):
            found[key] = _common([dict(value) for value in values if value is not None])
        elif all(value == first for value in values):
            found[key] = first
    return found


def _worst_calibration(parts: Sequence[Mapping[str, Any]]) -> Any:
    """Return the calibration that is furthest off; none where a part has none."""
    held = [part.get("calibration") for part in parts]
    try:
        read = [Calibration.from_json(data) for data in held if data is not None]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if len(read) < len(held):
        return None
    return max(read, key=lambda c: max(abs(reading.share) for reading in c.readings)).to_json()


def _efficiency(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the time of all jobs together; None where one does not know its own."""
    held = [part.get("efficiency") for part in parts]
    known = [one for one in held if isinstance(one, Mapping)]
    if len(known) < len(held):
        return None
    wall, busy = (
        round(sum(float(one[name]) for one in known), 3)
        for name in ("wall_seconds", "busy_seconds")
    )
    return efficiency(wall, busy)
