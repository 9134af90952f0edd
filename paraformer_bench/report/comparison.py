"""The page of a comparison: runs on the same axes, each further one judged against the first."""

from __future__ import annotations

import os
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from paraformer_bench.analysis import compare as rule
from paraformer_bench.analysis.claim import Verdict, verdict_file
from paraformer_bench.analysis.compare import FASTER, ONLY_A, ONLY_B, SAME, SLOWER, UNCLEAR
from paraformer_bench.analysis.words import deciding
from paraformer_bench.report import facts, html, page
from paraformer_bench.report.data import Conditions, ReportData, in_words
from paraformer_bench.report.facts import headline
from paraformer_bench.report.figures import ratios, series, style, svg
from paraformer_bench.report.figures.chart import Axis, chart
from paraformer_bench.report.figures.series import Panel, Series, grouped
from paraformer_bench.report.page import Block, Cell, Chart, Column, Page, Section, Table, alone
from paraformer_bench.study.case import Case, Curve, Method, Regime
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import PAGE, REPORTS, Run, RunInfo
from paraformer_bench.study.words import NONE, count, moment, percent, span, time, times

Told = tuple[str, Sequence[Cell | str]]
"""A row about all runs: its head, and a cell for each."""

OfCurve = tuple[list[Any], Verdict | None]
"""What a run says of a curve: its rows of the case table, and its verdict if it has one."""

LETTERS = string.ascii_uppercase
"""Short for the runs, of which there are so many at most."""

_SYMBOLS = {SLOWER: "↘", FASTER: "↗", UNCLEAR: "?", SAME: "=", ONLY_A: "A", ONLY_B: "B"}
"""In the order in which verdicts are told."""

_TONES = {SLOWER: "grows", FASTER: "constant"}
_ANSWERS = {SLOWER: "refuted", FASTER: "supported"}

_RULE = (
    "The observations are block medians. Those of two runs are independent samples, compared by "
    "Welch's t on their logarithms; the variances of each run's cases are moderated towards a "
    "common one, so that few blocks suffice. Slower and faster are corrected for the number of "
    "cases by Holm's procedure, so that two runs that are alike differ anywhere in at most 5% of "
    "comparisons. The same: neither, and the 90% interval lies within the threshold. Anything "
    "else is unclear."
)
_RATIOS = (
    "Time in {0} over time in A, on a logarithmic axis: right of 1 {0} is slower. Bars are 90% "
    "intervals over blocks; the shaded band is ±{1}. Triangles point to what is slower or faster "
    "for sure, circles are the same, hollow squares are unclear."
)
_LATENCY = (
    "One panel for each way to run a net under the same conditions, whatever the device; one "
    "curve a run. Vertical bars are 95% intervals over the blocks of one run: what moved "
    "between runs is not in them."
)


class Compared(NamedTuple):
    """A case, what became of it, and words for its regime."""

    case: Case
    contrast: rule.Contrast
    where: str


@dataclass(frozen=True)
class Contender:
    """One of the runs.

    Attributes:
        letter: Short for it.
        contrasts: Of its cases against those of the first run; empty for that itself and for a
            run that shares no case with it.
        shift: What moved all of it against the first run, in words; empty if nothing did.
    """

    letter: str
    data: ReportData
    contrasts: Sequence[rule.Contrast] = ()
    shift: str = ""

    @cached_property
    def counts(self) -> Counter[str]:
        """How many cases came out how."""
        return Counter(contrast.verdict for contrast in self.contrasts)

    @property
    def line(self) -> Curve:
        """What stands for the run in a figure: a curve that is called by its letter and name."""
        method = Method(f"{self.letter}: {self.data.name}", "", "eager")
        return Curve(method, Regime((), 1, "", ""))


@dataclass(frozen=True)
class Comparison:
    """Runs and what the further ones are against the first; see `contend`."""

    contenders: Sequence[Contender]
    threshold: float

    @cached_property
    def cases(self) -> dict[str, Case]:
        """By id, of all runs."""
        records = (record for one in self.contenders for record in one.data.run.records)
        return {record.case.id: record.case for record in records}

    @cached_property
    def regimes(self) -> dict[str, Conditions]:
        """By group."""
        return in_words(case.regime for case in self.cases.values())

    @cached_property
    def curves(self) -> list[tuple[str, dict[int, OfCurve]]]:
        """What runs say of each curve by their place, below the conditions but the device.

        Two devices of one run are two curves of it: the first one stands for it.
        """
        curves: dict[tuple[str, tuple[object, ...]], dict[int, OfCurve]] = {}
        for place, one in enumerate(self.contenders):
            verdicts = {verdict.curve_id: verdict for verdict in deciding(one.data.verdicts)}
            for group, of_group in grouped(one.data.rows).items():
                where = self.regimes[group].but("device")
                for curve_id, rows in of_group.items():
                    runs = curves.setdefault((where, rows[0].curve.sort_key), {})
                    runs.setdefault(place, (rows, verdicts.get(curve_id)))
        return [(where, curves[where, key]) for where, key in sorted(curves)]

    @property
    def slower(self) -> bool:
        """Whether any case of any run is slower than in the first one."""
        return any(one.counts[SLOWER] for one in self.contenders)


def contend(runs: Sequence[Run], threshold: float) -> Comparison:
    """Judge each further run against the first.

    Raises:
        UsageError: There are too few or too many runs, the threshold is out of range, or no
            further run shares a case or a curve, on whatever device, with the first.
    """
    if not 2 <= len(runs) <= len(LETTERS):
        raise UsageError(f"compare takes 2 to {len(LETTERS)} runs, not {len(runs)}")
    contenders = [Contender("A", ReportData(runs[0], verdict_file(runs[0])))]
    problems = []
    for letter, run in zip(LETTERS[1:], runs[1:], strict=False):
        contrasts, shift = [], ""
        try:
            contrasts = rule.compare(runs[0], run, threshold)
            shift = rule.shift(contrasts, runs[0], run).words
        except rule.NothingShared as error:
            problems.append(error)
        named = [replace(c, reason=c.reason.replace(" in B", f" in {letter}")) for c in contrasts]
        contenders.append(Contender(letter, ReportData(run, verdict_file(run)), named, shift))
    comparison = Comparison(contenders, threshold)
    if len(problems) == len(contenders) - 1 and not _panels(comparison):
        raise problems[0]
    return comparison


def default_path(comparison: Comparison) -> Path:
    """Where the page lies if nothing else is said."""
    names = [one.data.run.folder.resolve().name for one in comparison.contenders]
    name = "--".join(names)
    if len(name.encode()) > 200:
        name = f"{names[0]}--and-{len(names) - 1}-more"
    return REPORTS / "compare" / f"{name}.html"


def write_comparison(path: Path, comparison: Comparison) -> Path:
    """Write the page of a comparison and return its path.

    Raises:
        UsageError: It cannot be written.
    """
    runs, further = comparison.contenders, comparison.contenders[1:]
    names = [html.prose(one.data.name, 120) for one in runs]
    place = [html.rich("<span>{}: {}</span>", *each) for each in zip(LETTERS, names, strict=False)]
    about = (
        "A case is slower or faster if that is sure, whatever the number of cases, and the "
        f"estimate is beyond {percent(comparison.threshold)}."
    )
    sections = [section for one in further for section in _against(comparison, one)]
    shown = Page(
        title=" and ".join(one.data.name[:40] for one in runs),
        place=html.joined(' <span aria-hidden="true">/</span> ', place),
        question=f"Is {'B' if len(further) == 1 else 'any of them'} slower than A?",
        heading=" ".join(map(_title, further)),
        tone=next((a for v, a in _ANSWERS.items() if any(c.counts[v] for c in runs)), "undecided"),
        claims=[*map(_sentence, further), about],
        banners=[html.rich("{}: {}.", one.letter, one.shift) for one in further if one.shift],
        sections=[
            *sections,
            Section("verdicts", "Verdicts", _verdicts(comparison)),
            *alone(_latency(comparison)),
            Section("runs", "The runs", _runs(comparison, path.parent)),
            Section("rule", "The rule", [html.text(_RULE)]),
        ],
    )
    return page.write(path, page.render(shown))


def _title(one: Contender) -> str:
    slower, faster = one.counts[SLOWER], one.counts[FASTER]
    if slower:
        return f"{one.letter} is slower in {count(slower, 'case')}."
    if faster:
        return f"{one.letter} is faster in {count(faster, 'case')}, and slower in none."
    if one.counts[UNCLEAR]:
        return f"No case of {one.letter} is slower or faster for sure."
    return f"{one.letter} {'is as fast as' if one.contrasts else 'shares no case with'} A."


def _sentence(one: Contender) -> str:
    """Say how many cases came out how."""
    if not one.contrasts:
        why = "devices and conditions are part of a case"
        return f"{one.letter} shares no measured case with A: {why}."
    words = {SLOWER: "slower", FASTER: "faster", SAME: "the same", UNCLEAR: "unclear"}
    words |= {ONLY_A: "in A alone", ONLY_B: f"in {one.letter} alone"}
    told = ", ".join(f"{one.counts[v]} {words[v]}" for v in _SYMBOLS if one.counts[v])
    return f"Of {count(len(one.contrasts), 'case')} in A and {one.letter}: {told}."


def _against(comparison: Comparison, one: Contender) -> list[Section]:
    """Return the ratios of a run over the first one as figures, and its cases as a table."""
    rows = []
    for contrast in one.contrasts:
        case = comparison.cases[contrast.case_id]
        rows.append(Compared(case, contrast, comparison.regimes[case.group].short))
    rows.sort(key=lambda row: (row.where, row.case.curve.label, row.case.depth))
    timed = [row for row in rows if row.contrast.ratio is not None]
    threshold, number = comparison.threshold, one.letter.lower()
    body: list[Block] = [html.text(_RATIOS.format(one.letter, percent(threshold)))]
    limits = ratios.limits_of(one.contrasts, threshold)
    for place, (regime, group) in enumerate(groupby(timed, lambda row: row.where), start=1):
        named = [(f"{r.case.curve.label}, L = {r.case.depth}", r.contrast) for r in group]
        told = "; ".join(f"{label}: {_ratio(c)} {c.verdict}" for label, c in named)
        with style.drawing():
            figure = ratios.draw(named, one.letter, threshold, limits)
            title = f"{one.letter} over A: {regime}"
            drawing = svg.to_svg(figure, f"forest-{number}-{place}", title, told)
        body.append(html.drawing(drawing, title, regime))
    sections = [Section(f"ratios-{number}", f"{one.letter} over A", body)] if timed else []
    if rows:
        title = f"Cases of A and {one.letter}"
        sections.append(Section(f"cases-{number}", title, [_table(one, rows)]))
    return sections


def _ratio(contrast: rule.Contrast) -> str:
    return NONE if contrast.ratio is None else f"{contrast.ratio:.3f}×"


def _table(one: Contender, rows: list[Compared]) -> Block:
    """Show the cases of a run, the clear changes first."""

    def verdict(row: Compared) -> Cell:
        name, why = row.contrast.verdict, row.contrast.reason
        symbol = one.letter if name == ONLY_B else _SYMBOLS[name]
        shown = name.replace("_B", f"_{one.letter}")
        tone = _TONES.get(name, "inconclusive")
        return Cell(html.badge(shown, symbol, tone), html.prose(why) if why else "")

    def seconds(row: Compared) -> Cell:
        pair = row.contrast.seconds_a, row.contrast.seconds_b
        told = " → ".join(NONE if value is None else time(value) for value in pair)
        return Cell(told, f"{row.contrast.basis} time" if row.contrast.basis else "")

    def ratio(row: Compared) -> Cell:
        return Cell(html.rich("<b>{}</b>", _ratio(row.contrast)), key=row.contrast.ratio)

    columns: list[Column[Compared]] = [
        Column("method", lambda row: html.rich("<bdi>{}</bdi>", row.case.curve.label)),
        Column("depth L", lambda row: Cell(str(row.case.depth), key=row.case.depth)),
        Column("verdict", verdict),
        Column(f"{one.letter} / A", ratio),
        Column("interval", lambda row: span(row.contrast.low, row.contrast.high)),
        Column(f"A → {one.letter}", seconds),
        Column("blocks", lambda row: f"{row.contrast.blocks_a}, {row.contrast.blocks_b}"),
    ]
    if len({row.where for row in rows}) > 1:
        where = "<small><bdi>{}</bdi></small>"
        columns.append(Column("where", lambda row: html.rich(where, row.where)))
    order = list(_SYMBOLS)
    return Table(columns, sorted(rows, key=lambda row: order.index(row.contrast.verdict)))


def _verdicts(comparison: Comparison) -> list[Block]:
    """Return the verdicts of every curve that at least two runs have, side by side."""
    rows, lonely = [], 0
    for where, runs in comparison.curves:
        verdicts = {place: verdict for place, (_, verdict) in runs.items() if verdict}
        lonely += len(verdicts) == 1
        if len(verdicts) > 1:
            curve = html.method(next(iter(verdicts.values())).curve)
            marks = [_mark(verdicts.get(place)) for place in range(len(comparison.contenders))]
            rows.append((html.rich("{} <small><bdi>{}</bdi></small>", curve, where), marks))
    if not rows:
        return [html.text("No two of these runs have a curve in common.")]
    words = (
        "Deepest depth up to which each curve is constant, and its largest growth, judged run by "
        "run."
    )
    if lonely:
        words += f" {html.be(lonely, 'curve', ' that one run alone has')} left out."
    heads = [html.rich("<bdi>{}</bdi>", one.data.name[:40]) for one in comparison.contenders]
    return [
        html.text(words),
        Table(_columns("curve", heads), rows, "grid sortable", "Verdicts of every run"),
    ]


def _mark(verdict: Verdict | None) -> Cell:
    if verdict is None:
        return Cell(NONE)
    told = html.rich(
        '<span class="mark {0}"><span aria-hidden="true">{1}</span> {0}, L = {2} of {3}</span>',
        verdict.verdict,
        html.SYMBOLS[verdict.verdict],
        verdict.constant_up_to,
        verdict.depths[-1],
    )
    return Cell(told, times(verdict.worst.ratio) if verdict.worst else NONE)


def _columns(first: str, heads: Sequence[str]) -> list[Column[Told]]:
    """Return a column for the heads of rows, and one a run under its letter."""
    columns = [Column[Told](first, lambda row: row[0])]
    for place, (letter, head) in enumerate(zip(LETTERS, heads, strict=False)):
        cell = partial(_cell, place=place)
        columns.append(Column(html.rich("{}: {}", letter, head), cell, letter))
    return columns


def _cell(row: Told, place: int) -> Cell | str:
    return row[1][place]


def _latency(comparison: Comparison) -> Chart | None:
    """Draw the latency of every curve that at least two runs have."""
    panels = _panels(comparison)
    looks = style.looks(one.line for one in comparison.contenders)
    axis, regimes = Axis("time per call (ms)", "ms", {}), {p.group: words for p, words in panels}
    drawn = [panel for panel, _ in panels]
    return chart("latency", "Latency against depth", _LATENCY, drawn, axis, looks, regimes)


def _panels(comparison: Comparison) -> list[tuple[Panel, Conditions]]:
    """Return a panel for each way to run a net under the same conditions, and words for it."""
    panels: list[tuple[Panel, Conditions]] = []
    for where, runs in comparison.curves:
        on_device = all(any(row.device_time > 0 for row in rows) for rows, _ in runs.values())
        column, clock = ("device_time", "device time") if on_device else ("wall", "wall clock")
        drawn = tuple(
            Series(comparison.contenders[place].line, panel.series[0].points)
            for place, (rows, _) in runs.items()
            for panel in series.latency(rows, column)
            if panel.series[0].points
        )
        if len(drawn) > 1:
            rows, _ = next(iter(runs.values()))
            label = rows[0].curve.label
            name = f"{label} · {where} · {clock}"
            words = Conditions(len(panels), {"group": name}, f"{label} ({clock})")
            panels.append((Panel(name, where, drawn), words))
    return panels


_DIFFERENCES: Mapping[str, Callable[[RunInfo], Mapping[str, Any]]] = {
    "measured": lambda info: {"": moment(info.started or "")},
    "commit": lambda info: {"": facts.commit(info)},
    "device": lambda info: info.device_names,
    "suite": lambda info: {"": facts.suite_name(info)},
    "protocol": lambda info: facts.table(info.suite, "protocol"),
    "version": lambda info: info.versions,
    "host": lambda info: facts.table(info.environment, "host"),
}
"""What is told of the runs where they do not say the same."""


def _runs(comparison: Comparison, folder: Path) -> list[Block]:
    """Return what each run says by itself, and in what they differ."""
    runs = [one.data.run for one in comparison.contenders]
    said = [headline(one.data.verdicts, one.data.run.info) for one in comparison.contenders]
    texts = {
        "the claim": [f"{one.symbol} {one.answer}" for one in said],
        "in words": [" ".join(one.sentences) for one in said],
        "used": [facts.hardware((r.case.device for r in run.records), run.info) for run in runs],
        "blocks": [str(one.data.blocks) for one in comparison.contenders],
    }
    for name, of_info in _DIFFERENCES.items():
        values = [of_info(run.info) for run in runs]
        for key in dict.fromkeys(key for of_run in values for key in of_run):
            each = [NONE if v.get(key) in (None, "") else str(v[key]) for v in values]
            if len(set(each)) > 1:
                texts[f"{name} {key}".strip()] = each
    rows = [
        (html.rich("<bdi>{}</bdi>", name), [html.prose(text, 400) for text in each])
        for name, each in texts.items()
    ]
    heads = []
    for one, run in zip(comparison.contenders, runs, strict=True):
        name, target = html.rich("<bdi>{}</bdi>", one.data.name[:120]), run.folder.resolve() / PAGE
        link = quote(os.path.relpath(target, folder.resolve()))
        linked = html.rich('<a href="{}">{}</a>', link, name)
        heads.append(linked if target.is_file() else name)
    body: list[Block] = [
        html.text("What each says by itself, then in what they differ."),
        Table(_columns("what", heads), rows, look="plain"),
    ]
    warnings = [f"{run.folder}: {warning}" for run in runs for warning in run.warnings]
    if warnings:
        body += [html.heading("Broken lines"), html.bullets(warnings)]
    return body
