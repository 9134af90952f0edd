"""What kind of value a benchmark gives: how it scatters, and on which scale it is judged."""

from __future__ import annotations

from collections.abc import Iterable

from paraformer_bench.history.results import OK, Cell, Name, Series

TIME, RATIO, PLAIN, EXACT = "time", "ratio", "plain", "exact"
"""Times, which share the speed of a machine. Other positive values, such as memory. Values that
can be zero or negative, such as exponents. Values without any scatter, such as counts."""

SECONDS = {
    "s": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "milliseconds": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "microseconds": 1e-6,
    "ns": 1e-9,
    "nanoseconds": 1e-9,
}
"""Unit of time -> seconds."""
BYTES = {
    "b": 1.0,
    "byte": 1.0,
    "bytes": 1.0,
    "kb": 1e3,
    "kib": 2.0**10,
    "mb": 1e6,
    "mib": 2.0**20,
    "gb": 1e9,
    "gib": 2.0**30,
}
"""Unit of size -> bytes."""
COUNTS = {
    "calls",
    "count",
    "flop",
    "flops",
    "kernels",
    "launches",
    "operation",
    "operations",
    "ops",
    "parameter",
    "parameters",
}
"""Units of what is counted and not measured."""


def first_word(unit: str) -> str:
    """Return the unit without what it is per: ``seconds`` of ``seconds per image``."""
    words = unit.lower().replace("/", " ").split()
    return words[0] if words else ""


def kind_of(series: Series) -> str:
    """Return the kind of a series: from its unit, and from whether its samples ever differ."""
    unit = first_word(series.unit)
    if unit in SECONDS:
        return TIME
    cells = [cell for cell in series.cells.values() if cell.status == OK]
    if _never_scatter(cells, unit):
        return EXACT
    values = (value for cell in cells for value in (cell.value, *cell.samples))
    return RATIO if all(value > 0 for value in values) else PLAIN


def _never_scatter(cells: Iterable[Cell], unit: str) -> bool:
    """Whether values are exact: samples that are all alike at every commit.

    Of counts one sample will do. Sizes are exact if there is but one, such as that of the
    parameters: memory in use may be the same in all blocks of a commit, and a page more later.
    """
    if unit in BYTES:
        return all(cell.count == 1 for cell in cells)
    fewest = 1 if unit in COUNTS else 2
    return all(
        cell.count >= fewest
        and len(set(cell.samples)) <= 1
        and (cell.quartiles is None or cell.quartiles[0] == cell.quartiles[1])
        for cell in cells
    )


def device_of(name: Name) -> str:
    """Return ``cpu`` or ``gpu``: whose speed a time depends on."""
    device = dict(name.params).get("device", "").strip("'")
    if not device:
        device = "gpu" if any(p.startswith("Gpu") for p in name.benchmark.split(".")) else "cpu"
    return "cpu" if device == "cpu" else "gpu"


def is_sentinel(name: Name) -> bool:
    """Whether it is the time of something that never changes."""
    return "sentinel" in name.benchmark.lower()
