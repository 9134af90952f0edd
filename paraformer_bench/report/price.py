"""What depth costs, whether or not time grows: memory, energy, arithmetic and throughput."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from paraformer_bench.analysis.words import SERIAL
from paraformer_bench.report import units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line, line_of
from paraformer_bench.report.units import MIB
from paraformer_bench.report.verdict_rows import Cell
from paraformer_bench.study.record import Record

_TEXTS: dict[str, Callable[[float], str]] = {
    "time": units.time,
    "memory": lambda size: f"{units.short(size * MIB)} MiB",
    "work": lambda flops: f"{units.short(flops / 1e9)} GFLOP",
    "rate": lambda rate: f"{units.short(rate / 1e9)} GFLOP/s",
    "energy": lambda joules: f"{units.short(joules)} J",
}


@dataclass(frozen=True)
class PriceRow:
    """One method at the depth of its table; each cell tells how it compares with the serial net.

    Attributes:
        line: Who.
        time: Of a call.
        memory: Peak of one call.
        work: Arithmetic for one image.
        rate: Arithmetic done in a second.
        energy: For one image.
    """

    line: Line
    time: Cell
    memory: Cell
    work: Cell
    rate: Cell
    energy: Cell


@dataclass(frozen=True)
class PriceTable:
    """The methods of one regime at one depth.

    Attributes:
        regime: Under what conditions.
        depth: Of all rows.
        rows: One a method that has a time there.
        lost: What became of others at this depth or deeper, in words; empty if nothing did.
    """

    regime: Regime
    depth: int
    rows: list[PriceRow]
    lost: str


@dataclass(frozen=True)
class Price:
    """The tables of the section, and why cases have no energy (empty if all have)."""

    tables: list[PriceTable]
    has_energy: bool
    no_energy: str


def price(
    cases: pd.DataFrame, records: Iterable[Record], regimes: Mapping[str, Regime], column: str
) -> Price:
    """Return the section's contents.

    Every regime is shown at the deepest depth at which a serial net and another have a time; where
    there is none, at the deepest at which anything has.

    Args:
        cases: `analysis.tables.case_table`.
        records: Of the run.
        regimes: By group.
        column: ``wall`` or ``device_time``.
    """
    tables = []
    timed = cases[(cases[column] > 0) & (cases[column] < math.inf)]
    for group, held in timed.groupby("group", sort=False):
        serial = set(held.loc[held["model"] == SERIAL, "depth"])
        others = set(held.loc[held["model"] != SERIAL, "depth"])
        depth = int(max(serial & others or serial | others))
        at_depth: list[Any] = held[held["depth"] == depth].to_dict("records")
        twins = {row["runtime"]: row for row in at_depth if row["model"] == SERIAL}
        rows = [_row(row, twins.get(row["runtime"]), column) for row in at_depth]
        rows.sort(key=lambda row: (row.line.model != SERIAL, row.line))
        of_group = cases[(cases["group"] == group) & (cases["depth"] >= depth)]
        tables.append(PriceTable(regimes[str(group)], depth, rows, _lost(of_group)))
    has_energy = bool((timed["energy_joules"] > 0).any())
    return Price(tables, has_energy, _no_energy(records))


def _lost(cases: pd.DataFrame) -> str:
    """Name the cases that failed, with the status and depths of each method."""
    failed: dict[tuple[Line, str], list[int]] = {}
    for row in cases[~cases["status"].isin(["ok", "skipped"])].to_dict("records"):
        failed.setdefault((line_of(row), str(row["status"])), []).append(int(row["depth"]))
    return "; ".join(
        f"{line.label}: {status} at L = {units.depth_list(depths)}"
        for (line, status), depths in sorted(failed.items())
    )


def _row(row: Mapping[str, Any], twin: Mapping[str, Any] | None, column: str) -> PriceRow:
    own = _quantities(row, column)
    others = _quantities(twin, column) if twin and twin is not row else {}
    cells = {
        name: _cell(value, others.get(name, math.nan), _TEXTS[name]) for name, value in own.items()
    }
    return PriceRow(line_of(row), **cells)


def _quantities(row: Mapping[str, Any], column: str) -> dict[str, float]:
    """Numbers of a case by the names of `PriceRow`; NaN where one is not known."""
    return {
        "time": row[column],
        "memory": row["peak_bytes"],
        "work": row["flops"] / row["batch"],
        "rate": row["flops"] / row[column],
        "energy": row["energy_joules"] / row["batch"],
    }


def _cell(value: float, other: float, text: Callable[[float], str]) -> Cell:
    if not value > 0:
        return Cell(units.NONE)
    return Cell(text(value), units.times(value / other) if other > 0 else "", value)


def _no_energy(records: Iterable[Record]) -> str:
    """Say why timed records have no energy: the commonest reason."""
    reasons = Counter(
        record.null_reasons.get("energy_joules", "no reason was recorded")
        for record in records
        if record.status == "ok" and record.energy_joules is None
    )
    if not reasons:
        return ""
    [(reason, _)] = reasons.most_common(1)
    others = len(reasons) - 1
    return f"{reason} (and {units.count(others, 'other reason')})" if others else reason
