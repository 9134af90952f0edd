"""Verdicts as rows of tables: one a curve and basis, and one mark a curve for the overview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from paraformer_bench.analysis.curve import CONSTANT, GROWS, INCONCLUSIVE
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.analysis.words import deciding
from paraformer_bench.report import units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line, line_of

UNMEASURED = "not measured"
SYMBOLS = {CONSTANT: "→", GROWS: "↗", INCONCLUSIVE: "?", UNMEASURED: "–"}
"""What stands before a verdict, so that colour is never alone."""


@dataclass(frozen=True)
class Cell:
    """A table cell: what people read, and the number to sort it by (null: sort it last)."""

    text: str
    detail: str = ""
    key: float | None = None


@dataclass(frozen=True)
class Row:
    """A curve on one basis.

    Attributes:
        line: Who.
        curve_id: Whose verdict it is in ``verdicts.json``.
        basis: ``device``, ``wall``, or empty where there are no times.
        verdict: A verdict or `UNMEASURED`.
        constant_up_to: Depth.
        worst: Pair of depths that grows most.
        exponent: Of t ~ L^b.
        blocks: Blocks behind it.
        speedup: Over the serial net at the deepest common depth.
        notes: What else must be known, a sentence each.
        flags: Validity flags of its records.
    """

    line: Line
    curve_id: str
    basis: str
    verdict: str
    constant_up_to: Cell
    worst: Cell
    exponent: Cell
    blocks: Cell
    speedup: Cell
    notes: list[str]
    flags: tuple[str, ...]

    @property
    def symbol(self) -> str:
        """Mark of the verdict."""
        return SYMBOLS[self.verdict]


@dataclass(frozen=True)
class VerdictTable:
    """The rows of one regime."""

    regime: Regime
    rows: list[Row]


def verdict_tables(
    cases: pd.DataFrame, verdicts: Sequence[Verdict], regimes: Mapping[str, Regime]
) -> list[VerdictTable]:
    """Return a table a regime: serial first, curves without any time last."""
    judged: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        judged.setdefault(verdict.curve_id, []).append(verdict)
    tables = []
    for group, held in cases.groupby("group", sort=False):
        rows: list[Row] = []
        for curve_id, curve in held.groupby("curve_id", sort=False):
            line = line_of(curve.iloc[0].to_dict())
            of_curve = sorted(judged.get(str(curve_id), ()), key=lambda v: v.basis)
            rows += [_row(line, verdict) for verdict in of_curve]
            if not of_curve:
                rows.append(_unmeasured(line, str(curve_id), curve))
        rows.sort(key=lambda r: (r.verdict == UNMEASURED, r.line.model != "serial", r.line))
        tables.append(VerdictTable(regimes[str(group)], rows))
    return tables


def overview(
    tables: Sequence[VerdictTable], verdicts: Sequence[Verdict]
) -> tuple[list[Line], list[tuple[Regime, list[Row | None]]]]:
    """Return a grid of deciding rows: heads of its columns, then each regime with its marks."""
    basis = {verdict.curve_id: verdict.basis for verdict in deciding(verdicts)}
    lines = sorted(
        {row.line for table in tables for row in table.rows},
        key=lambda line: (line.model != "serial", line),
    )
    grid: list[tuple[Regime, list[Row | None]]] = []
    for table in tables:
        marks = {r.line: r for r in table.rows if r.basis == basis.get(r.curve_id, "")}
        grid.append((table.regime, [marks.get(line) for line in lines]))
    return lines, grid


def _row(line: Line, verdict: Verdict) -> Row:
    depth, deepest = verdict.constant_up_to, verdict.depths[-1]
    up_to = Cell(f"L = {depth}", f"of {deepest}", depth)
    worst, exponent, speedup = Cell(units.NONE), Cell(units.NONE), Cell(units.NONE)
    if rise := verdict.worst:
        detail = f"L {rise.shallow} to {rise.deep}"
        interval = units.span(rise.low, rise.high)
        worst = Cell(
            units.times(rise.ratio), f"{interval}, {detail}" if interval else detail, rise.ratio
        )
    if power := verdict.exponent:
        ends = [units.power(end) for end in (power.low, power.high) if end is not None]
        exponent = Cell(units.power(power.value), " to ".join(ends), power.value)
    if verdict.speedup:
        gain = verdict.speedup[-1]
        interval = units.span(gain.low, gain.high)
        at = f"at L = {gain.depth}"
        speedup = Cell(
            units.times(gain.ratio), f"{interval}, {at}" if interval else at, gain.ratio
        )
    blocks = Cell(str(verdict.blocks), key=verdict.blocks)
    return Row(
        line,
        verdict.curve_id,
        verdict.basis,
        verdict.verdict,
        up_to,
        worst,
        exponent,
        blocks,
        speedup,
        _notes(verdict),
        verdict.flags,
    )


def _notes(verdict: Verdict) -> list[str]:
    notes = []
    if verdict.verdict == INCONCLUSIVE:
        notes.append(f"Open: {verdict.reason}.")
        if verdict.blocks_to_settle is not None:
            more = units.count(verdict.blocks_to_settle - verdict.blocks, "more block")
            notes.append(f"About {more} would settle it.")
    other = verdict.without_flagged
    if other and verdict.differs_without_flagged:
        count = units.count(other.records, "flagged record")
        told = f"{other.verdict}, constant up to {other.constant_up_to}"
        notes.append(f"Without its {count}: {told}.")
    lost: dict[tuple[str, str], list[int]] = {}
    for missing in verdict.missing:
        lost.setdefault((missing.status, missing.reason), []).append(missing.depth)
    for (status, reason), depths in lost.items():
        notes.append(f"Not measured at L = {units.depth_list(depths)} ({status}): {reason}")
    return notes


def _unmeasured(line: Line, curve_id: str, curve: pd.DataFrame) -> Row:
    """A curve without any time: every way it ended, once."""
    ends = curve[["status", "reason"]].drop_duplicates().to_numpy().tolist()
    notes = [f"{status}: {reason or 'no reason recorded'}" for status, reason in ends]
    none = Cell(units.NONE)
    return Row(line, curve_id, "", UNMEASURED, none, none, none, none, none, notes, ())
