"""Verdicts: every curve at a glance, then a table a regime with a row for each curve and basis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.curve import INCONCLUSIVE
from paraformer_bench.analysis.words import deciding
from paraformer_bench.report import facts, html
from paraformer_bench.report.data import Conditions, ReportData, shared
from paraformer_bench.report.figures.series import grouped
from paraformer_bench.report.section import Block, Cell, Column, Section, Table
from paraformer_bench.study.case import Curve
from paraformer_bench.study.words import NONE, count, depth_list, percent, power, span, times

ORDER = 10

Place = tuple[Conditions, Mapping[str, "VerdictRow"]]
"""A regime and the deciding row of each of its curves, by label."""


@dataclass(frozen=True)
class VerdictRow:
    """A curve on one basis; without any time it has no verdict but ``notes``: how it ended."""

    curve: Curve
    verdict: Verdict | None
    notes: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """A verdict or `html.UNMEASURED`."""
        return self.verdict.verdict if self.verdict else html.UNMEASURED

    @property
    def basis(self) -> str:
        """``device``, ``wall``, or empty where there are no times."""
        return self.verdict.basis if self.verdict else ""


def _up_to(row: VerdictRow) -> Cell:
    if not row.verdict:
        return Cell(NONE)
    depth = row.verdict.constant_up_to
    return Cell(f"L = {depth}", f"of {row.verdict.depths[-1]}", depth)


def _worst(row: VerdictRow) -> Cell:
    if not (rise := row.verdict.worst if row.verdict else None):
        return Cell(NONE)
    where = [span(rise.low, rise.high), f"L {rise.shallow} to {rise.deep}"]
    return Cell(times(rise.ratio), ", ".join(filter(None, where)), rise.ratio)


def _exponent(row: VerdictRow) -> Cell:
    if not (found := row.verdict.exponent if row.verdict else None):
        return Cell(NONE)
    ends = [power(end) for end in (found.low, found.high) if end is not None]
    return Cell(power(found.value), " to ".join(ends), found.value)


def _speedup(row: VerdictRow) -> Cell:
    if not (row.verdict and row.verdict.speedup):
        return Cell(NONE)
    gain = row.verdict.speedup[-1]
    where = [span(gain.low, gain.high), f"at L = {gain.depth}"]
    return Cell(times(gain.ratio), ", ".join(filter(None, where)), gain.ratio)


def _blocks(row: VerdictRow) -> Cell:
    return Cell(str(row.verdict.blocks), key=row.verdict.blocks) if row.verdict else Cell(NONE)


NUMBERS: tuple[Column[VerdictRow], ...] = (
    Column("constant up to", _up_to),
    Column("largest growth", _worst),
    Column(html.rich("exponent <i>β</i>"), _exponent, "exponent"),
    Column("speed-up over serial", _speedup),
    Column("blocks", _blocks),
)
"""What is told of a verdict in numbers, on the page and in Markdown."""


def verdict_rows(data: ReportData) -> list[tuple[Conditions, list[VerdictRow]]]:
    """Return the rows of every regime: serial first, curves without any time last."""
    judged: dict[str, list[Verdict]] = {}
    for verdict in sorted(data.verdicts, key=lambda verdict: verdict.basis):
        judged.setdefault(verdict.curve_id, []).append(verdict)
    tables = []
    for group, curves in grouped(data.rows).items():
        rows: list[VerdictRow] = []
        for curve_id, cases in curves.items():
            curve = cases[0].curve
            rows += [VerdictRow(curve, v, _notes(v)) for v in judged.get(curve_id, ())]
            if curve_id not in judged:
                ends = dict.fromkeys((case.status, case.reason) for case in cases)
                told = [f"{status}: {reason or 'no reason recorded'}" for status, reason in ends]
                rows.append(VerdictRow(curve, None, told))
        rows.sort(key=lambda row: (row.verdict is None, row.curve.sort_key))
        tables.append((data.regimes[group], rows))
    return tables


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    tables = verdict_rows(data)
    body: list[Block] = []
    if not tables:
        words = "This run holds no records, so there is nothing to judge."
        again = '{} <a href="#protocol">The command that made it</a> may be run again.'
        body.append(
            html.text(html.rich(again, words) if facts.command(data.run.info) else words, "")
        )
    if len(tables) > 1:
        body += _overview(data, tables)
    body += [_table(data, regime, rows, len(tables) <= 4) for regime, rows in tables]
    if data.rule:
        body.append(html.text(_reading(data.rule, data.several_bases), "small"))
    return [Section("verdicts", "Verdicts", body, "Verdicts")]


def _overview(data: ReportData, tables: list[tuple[Conditions, list[VerdictRow]]]) -> list[Block]:
    """Return a grid: a row a regime, a column a curve, and the deciding verdict in each place."""
    basis = {verdict.curve_id: verdict.basis for verdict in deciding(data.verdicts)}
    curves = {row.curve.label: row.curve for _, rows in tables for row in rows}
    grid = [
        (regime, {r.curve.label: r for r in rows if r.basis == basis.get(r.curve.id, "")})
        for regime, rows in tables
    ]

    def cell(place: Place, label: str) -> Cell | str:
        regime, row = place[0], place[1].get(label)
        if row is None:
            return ""
        number = data.looks[row.curve.label].number
        up_to, worst = _up_to(row), _worst(row)
        mark = html.rich(
            '<a class="mark {}" href="#curve-{}-{}" title="{}"><span aria-hidden="true">{}</span>'
            '<span class="sr">{}</span> {}</a>',
            row.words.replace(" ", "-"),
            regime.number + 1,
            number,
            row.words,
            html.SYMBOLS[row.words],
            row.words,
            up_to.text,
        )
        return Cell(mark, worst.text if worst.key is not None else "", up_to.key)

    link = '<a href="#regime-{}"><bdi>{}</bdi></a>'
    columns: list[Column[Place]] = [
        Column("regime", lambda place: html.rich(link, place[0].number + 1, place[0].short)),
        *(
            Column(
                html.method(curve),
                partial(cell, label=curve.label),
                line=data.looks[curve.label].number,
            )
            for curve in sorted(curves.values(), key=lambda curve: curve.sort_key)
        ),
    ]
    words = (
        "Each curve at a glance: its verdict, the deepest depth up to which it is constant, and "
        "its largest growth."
    )
    same = shared(data.regimes)
    key = [
        html.rich("<span>{} {}</span>", html.badge(verdict), meaning)
        for verdict, meaning in (
            ("constant", "at every depth tested"),
            ("grows", "by more than the margin"),
            ("inconclusive", "not settled"),
            (html.UNMEASURED, "no time at all"),
        )
        if verdict != html.UNMEASURED or any(r.status != "ok" for r in data.run.records)
    ]
    return [
        html.text(
            html.rich("{} Every regime: <bdi>{}</bdi>.", words, same) if same else words, ""
        ),
        Table(
            columns,
            grid,
            look="grid sortable",
            label="Verdict of every curve",
            attributes=lambda place: {"data-regime": place[0].number},
        ),
        html.text(html.joined(" ", key), "key"),
    ]


def _table(data: ReportData, regime: Conditions, rows: list[VerdictRow], opened: bool) -> Block:
    firsts = {row.curve.id: row for row in reversed(rows)}

    def attributes(row: VerdictRow) -> dict[str, object]:
        number = data.looks[row.curve.label].number
        anchor = f"curve-{regime.number + 1}-{number}" if firsts[row.curve.id] is row else None
        return {"id": anchor, "data-curve": row.curve.id, "data-line": number}

    def notes(row: VerdictRow) -> list[str]:
        flags = row.verdict.flags if row.verdict else ()
        links = [
            html.rich('<a class="flag" href="#validity"><bdi>{}</bdi></a> ', f) for f in flags
        ]
        told = [html.rich("Flags: {}", html.joined("", links))] if links else []
        return [*map(html.prose, row.notes), *told]

    columns: list[Column[VerdictRow]] = [Column("method", lambda row: html.method(row.curve))]
    if data.several_bases:
        columns.append(Column("time", lambda row: row.basis or NONE))
    columns.append(Column("verdict", lambda row: html.badge(row.words)))
    table = Table([*columns, *NUMBERS], rows, "verdicts sortable", "", "", {}, attributes, notes)
    anchor = f"regime-{regime.number + 1}"
    return regime.fold([table], count(len(rows), "row"), opened, id=anchor)


def _reading(rule: Verdict, several_bases: bool) -> str:
    both = " Device time decides; the wall clock is what a caller waits for."
    return html.rich(
        "Largest growth: the pair of depths whose time ratio is greatest, with one-sided {0} "
        "bounds on either side. Exponent <i>β</i>: time ∝ L<sup><i>β</i></sup>, 0 is constant and "
        "1 is proportional to depth, with its {0} interval. Speed-up: time of the serial net over "
        "time of this one at the same depth. All of them compare times within a block, a fresh "
        "process that visits every case, so that drift from process to process cancels.{1}",
        percent(rule.confidence),
        both if several_bases else "",
    )


def _notes(verdict: Verdict) -> list[str]:
    notes = []
    if verdict.verdict == INCONCLUSIVE:
        notes.append(f"Open: {verdict.reason}.")
        if verdict.blocks_to_settle is not None:
            more = count(verdict.blocks_to_settle - verdict.blocks, "more block")
            notes.append(f"About {more} would settle it.")
    other = verdict.without_flagged
    if other and verdict.differs_without_flagged:
        flagged = count(other.records, "flagged record")
        told = f"{other.verdict}, constant up to {other.constant_up_to}"
        notes.append(f"Without its {flagged}: {told}.")
    lost: dict[tuple[str, str], list[int]] = {}
    for missing in verdict.missing:
        lost.setdefault((missing.status, missing.reason), []).append(missing.depth)
    for (status, reason), depths in lost.items():
        notes.append(f"Not measured at L = {depth_list(depths)} ({status}): {reason}")
    return notes
