"""Verdicts: every curve at a glance, then a table a regime with a row for each curve and basis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from paraformer_bench.analysis.claim import Speedup, Verdict
from paraformer_bench.analysis.curve import CONSTANT, GROWS, INCONCLUSIVE, Rise
from paraformer_bench.report import facts, html
from paraformer_bench.report.data import Conditions, ReportData, shared
from paraformer_bench.report.figures.series import grouped
from paraformer_bench.report.page import Block, Cell, Column, Section, Table
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
    notes: list[str]

    @property
    def words(self) -> str:
        """A verdict or `html.UNMEASURED`."""
        return self.verdict.verdict if self.verdict else html.UNMEASURED

    @property
    def basis(self) -> str:
        """``device``, ``wall``, or empty where there are no times."""
        return self.verdict.basis if self.verdict else ""


def _cell(row: VerdictRow, of: Callable[[Verdict], Cell | None]) -> Cell:
    return (of(row.verdict) if row.verdict else None) or Cell(NONE)


def _up_to(verdict: Verdict) -> Cell:
    depth = verdict.constant_up_to
    return Cell(f"L = {depth}", f"of {verdict.depths[-1]}", depth)


def _worst(verdict: Verdict) -> Cell | None:
    rise = verdict.worst
    return _ratio(rise, f"L {rise.shallow} to {rise.deep}") if rise else None


def _exponent(verdict: Verdict) -> Cell | None:
    if not (exponent := verdict.exponent):
        return None
    ends = [power(end) for end in (exponent.low, exponent.high) if end is not None]
    return Cell(power(exponent.value), " to ".join(ends), exponent.value)


def _speedup(verdict: Verdict) -> Cell | None:
    gain = verdict.speedup[-1] if verdict.speedup else None
    return _ratio(gain, f"at L = {gain.depth}") if gain else None


def _ratio(ratio: Rise | Speedup, where: str) -> Cell:
    reach = ", ".join(filter(None, [span(ratio.low, ratio.high), where]))
    return Cell(times(ratio.ratio), reach, ratio.ratio)


def _blocks(verdict: Verdict) -> Cell:
    return Cell(str(verdict.blocks), key=verdict.blocks)


NUMBERS: tuple[Column[VerdictRow], ...] = (
    Column("constant up to", partial(_cell, of=_up_to)),
    Column("largest growth", partial(_cell, of=_worst)),
    Column(html.rich("exponent <i>β</i>"), partial(_cell, of=_exponent), "exponent"),
    Column("speed-up over serial", partial(_cell, of=_speedup)),
    Column("blocks", partial(_cell, of=_blocks)),
)
"""What is told of a verdict in numbers, on the page and in Markdown."""


def verdict_rows(data: ReportData) -> list[tuple[Conditions, list[VerdictRow]]]:
    """Return the rows of every regime: serial first, curves without any time last.

    Of the rows of a curve the first one decides.
    """
    judged: dict[str, list[VerdictRow]] = {}
    for verdict in sorted(data.verdicts, key=lambda verdict: verdict.basis):
        row = VerdictRow(verdict.curve, verdict, _notes(verdict))
        judged.setdefault(verdict.curve_id, []).append(row)
    tables = []
    for group, curves in grouped(data.rows).items():
        rows: list[VerdictRow] = []
        for curve_id, cases in curves.items():
            ends = dict.fromkeys((case.status, case.reason) for case in cases)
            told = [f"{status}: {reason or 'no reason recorded'}" for status, reason in ends]
            rows += judged.get(curve_id) or [VerdictRow(cases[0].curve, None, told)]
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
        told = html.rich(again, words) if facts.command(data.run.info) else words
        body.append(html.text(told, ""))
    if len(tables) > 1:
        body += _overview(data, tables)
    body += [_table(data, regime, rows, len(tables) <= 4) for regime, rows in tables]
    if data.rule:
        body.append(html.text(_reading(data.rule, data.several_bases), "small"))
    return [Section("verdicts", "Verdicts", body, "Verdicts")]


def _overview(data: ReportData, tables: list[tuple[Conditions, list[VerdictRow]]]) -> list[Block]:
    """Return a grid: a row a regime, a column a curve, and the deciding verdict in each place."""

    def cell(place: Place, curve: Curve) -> Cell | str:
        regime, rows = place
        if curve.label not in rows:
            return ""
        row = rows[curve.label]
        up_to = _cell(row, _up_to)
        mark = html.rich(
            '<a class="mark {0}" href="#curve-{1}-{2}" title="{3}"><span aria-hidden="true">{4}'
            '</span><span class="sr">{3}</span> {5}</a>',
            row.words.replace(" ", "-"),
            regime.number + 1,
            data.looks[curve.label].number,
            row.words,
            html.SYMBOLS[row.words],
            up_to.text,
        )
        worst = row.verdict.worst if row.verdict else None
        return Cell(mark, times(worst.ratio) if worst else "", up_to.key)

    curves = {row.curve.label: row.curve for _, rows in tables for row in rows}
    link = '<a href="#regime-{}"><bdi>{}</bdi></a>'
    columns: list[Column[Place]] = [
        Column("regime", lambda place: html.rich(link, place[0].number + 1, place[0].short))
    ]
    for curve in sorted(curves.values(), key=lambda curve: curve.sort_key):
        line = data.looks[curve.label].number
        columns.append(Column(html.method(curve), partial(cell, curve=curve), line=line))
    words = (
        "Each curve at a glance: its verdict, the deepest depth up to which it is constant, and "
        "its largest growth."
    )
    if same := shared(data.regimes):
        words = html.rich("{} Every regime: <bdi>{}</bdi>.", words, same)
    meanings = {
        CONSTANT: "at every depth tested",
        GROWS: "by more than the margin",
        INCONCLUSIVE: "not settled",
    }
    if any(record.status != "ok" for record in data.run.records):
        meanings[html.UNMEASURED] = "no time at all"
    key = [html.rich("<span>{} {}</span>", html.badge(v), told) for v, told in meanings.items()]
    grid = Table(
        columns,
        [(regime, {r.curve.label: r for r in reversed(rows)}) for regime, rows in tables],
        look="grid sortable",
        label="Verdict of every curve",
        attributes=lambda place: {"data-regime": place[0].number},
    )
    return [html.text(words, ""), grid, html.text(html.joined(" ", key), "key")]


def _table(data: ReportData, regime: Conditions, rows: list[VerdictRow], opened: bool) -> Block:
    deciding = {row.curve.id: row for row in reversed(rows)}

    def attributes(row: VerdictRow) -> dict[str, object]:
        number = data.looks[row.curve.label].number
        anchor = f"curve-{regime.number + 1}-{number}" if deciding[row.curve.id] is row else None
        return {"id": anchor, "data-curve": row.curve.id, "data-line": number}

    def notes(row: VerdictRow) -> list[str]:
        told: list[str] = [html.prose(note) for note in row.notes]
        if row.verdict and row.verdict.flags:
            link = '<a class="flag" href="#validity"><bdi>{}</bdi></a> '
            links = [html.rich(link, flag) for flag in row.verdict.flags]
            told.append(html.rich("Flags: {}", html.joined("", links)))
        return told

    columns: list[Column[VerdictRow]] = [Column("method", lambda row: html.method(row.curve))]
    if data.several_bases:
        columns.append(Column("time", lambda row: row.basis or NONE))
    columns.append(Column("verdict", lambda row: html.badge(row.words)))
    look = "verdicts sortable"
    table = Table([*columns, *NUMBERS], rows, look, attributes=attributes, notes=notes)
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
