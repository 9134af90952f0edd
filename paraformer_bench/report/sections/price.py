"""The price: what depth costs, whether or not time grows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any

from paraformer_bench.report import html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.figures import series
from paraformer_bench.report.figures.chart import Axis, chart
from paraformer_bench.report.figures.series import grouped
from paraformer_bench.report.page import Block, Cell, Column, Section, Table
from paraformer_bench.study.case import SERIAL
from paraformer_bench.study.record import Record
from paraformer_bench.study.words import NONE, count, depth_list, short, time, times

ORDER = 60

_ABOUT = (
    "A serial net and a Para-Former of one depth hold the same weights and do the same "
    "arithmetic: running branches at once can save time, never work. Below each value, in grey: "
    "how many times that of the serial net under the same runtime."
)
_THROUGHPUT = (
    "Images per second of one stream of calls: batch over time per call. Higher is better."
)
_MEMORY = {
    "cpu": "Peak resident memory of the worker in one call, above what it held before the net.",
    "cuda": "Peak memory allocated on the GPU in one call, above what it held before the net.",
}
_WEIGHTS = " The dotted grey line is the size of the weights alone."
_ENERGY = (
    "What the device used for one image while calls followed each other without a pause, idle "
    "power included."
)


Quantity = tuple[str, Callable[[Any, float], float], Callable[[float], str]]
"""Something that a case costs: its name, its number from the row and the time of a call in seconds
(NaN if unknown), and that as text."""


def _in(unit: str, size: float = 1) -> Callable[[float], str]:
    return lambda value: f"{short(value / size)} {unit}"


QUANTITIES: tuple[Quantity, ...] = (
    ("time per call", lambda row, seconds: seconds, time),
    ("peak memory", lambda row, _: row.peak_bytes, _in("MiB", 2**20)),
    ("work per image", lambda row, _: row.flops / row.batch, _in("GFLOP", 1e9)),
    ("work done", lambda row, seconds: row.flops / seconds, _in("GFLOP/s", 1e9)),
    ("energy per image", lambda row, _: row.energy_joules / row.batch, _in("J")),
)
"""Columns of the tables; the last one only where energy was measured."""


def sections(data: ReportData) -> list[Section]:
    """Return the section, none where nothing was timed."""
    column = data.column
    timed = [row for row in data.rows if 0 < getattr(row, column) < math.inf]
    if not timed:
        return []
    body: list[Block] = [html.text(_ABOUT)]
    has_energy = any(row.energy_joules > 0 for row in timed)
    if not has_energy and (reason := _no_energy(data.run.records)):
        body.append(html.text(html.rich("Energy was not measured: {}", html.prose(reason))))
    quantities = QUANTITIES if has_energy else QUANTITIES[:-1]
    regimes = [list(chain(*curves.values())) for curves in grouped(timed).values()]
    body += [_table(data, rows, quantities, len(regimes) <= 2) for rows in regimes]
    names = data.looks, data.regimes
    panels = series.throughput(data.rows, column)
    axis = Axis("images per second", "images/s", {})
    drawn = [chart("throughput", "Throughput against depth", _THROUGHPUT, panels, axis, *names)]
    kinds = {row.device.split(":")[0] for row in data.rows}
    note = " ".join(_MEMORY[kind] for kind in sorted(kinds & _MEMORY.keys())) + _WEIGHTS
    axis = Axis("peak memory (MiB)", "MiB", {})
    panels = series.memory(data.rows)
    drawn.append(chart("memory", "Memory against depth", note, panels, axis, *names))
    axis = Axis("energy per image (J)", "J", {})
    panels = series.energy(data.rows)
    drawn.append(chart("energy", "Energy against depth", _ENERGY, panels, axis, *names))
    return [Section("price", "The price", [*body, *filter(None, drawn)], "The price")]


def _table(
    data: ReportData, timed: list[Any], quantities: Sequence[Quantity], opened: bool
) -> Block:
    """Show a regime at the deepest depth at which a serial net and another have a time.

    Where there is none, at the deepest at which anything has.
    """
    serial = {row.depth for row in timed if row.model == SERIAL}
    others = {row.depth for row in timed if row.model != SERIAL}
    depth = max(serial & others or serial | others)
    rows = [row for row in timed if row.depth == depth]
    twins = {row.runtime: row for row in rows if row.model == SERIAL}
    regime, column = data.regimes[timed[0].group], data.column

    def cell(row: Any, quantity: Quantity) -> Cell:
        _, of, text = quantity
        value, twin = of(row, getattr(row, column)), twins.get(row.runtime)
        if not value > 0:
            return Cell(NONE)
        of_twin = of(twin, getattr(twin, column)) if twin and twin is not row else math.nan
        return Cell(text(value), times(value / of_twin) if of_twin > 0 else "", value)

    columns = [Column[Any]("method", lambda row: html.method(row.curve))]
    columns += [Column(quantity[0], partial(cell, quantity=quantity)) for quantity in quantities]
    table = Table(
        columns,
        sorted(rows, key=lambda row: row.curve.sort_key),
        look="sortable values",
        label=f"The price at depth {depth}, {regime.full}",
        attributes=lambda row: data.of(row.curve),
    )
    body: list[Block] = [table]
    group = timed[0].group
    if lost := _lost(row for row in data.rows if row.group == group and row.depth >= depth):
        body.append(html.text(html.rich("Here or deeper without a time: {}", html.prose(lost))))
    return regime.fold(body, f"at L = {depth}", opened)


def _lost(rows: Iterable[Any]) -> str:
    """Name the cases that failed, with the status and depths of each method."""
    failed: dict[tuple[str, str], list[int]] = {}
    for row in sorted(rows, key=lambda row: (row.curve.sort_key, row.status)):
        if row.status not in ("ok", "skipped"):
            failed.setdefault((row.curve.label, row.status), []).append(row.depth)
    return "; ".join(
        f"{label}: {status} at L = {depth_list(depths)}"
        for (label, status), depths in failed.items()
    )


def _no_energy(records: Iterable[Record]) -> str:
    """Say why timed records have no energy: the commonest reason."""
    reasons = Counter(
        record.null_reasons.get("energy_joules", "no reason was recorded")
        for record in records
        if record.status == "ok" and record.energy_joules is None
    )
    if not reasons:
        return ""
    (reason, _), *others = reasons.most_common()
    return f"{reason} (and {count(len(others), 'other reason')})" if others else reason
