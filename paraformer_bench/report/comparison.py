"""The page of a comparison: runs on the same axes, each further one judged against the first."""

from __future__ import annotations

import os
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from paraformer_bench.analysis import compare as rule
from paraformer_bench.analysis.claim import Verdict, verdict_file
from paraformer_bench.analysis.compare import (
    FASTER,
    ONLY_A,
    ONLY_B,
    SAME,
    SLOWER,
    UNCLEAR,
    Contrast,
)
from paraformer_bench.analysis.tables import case_table
from paraformer_bench.analysis.words import deciding
from paraformer_bench.report import facts, html, page
from paraformer_bench.report.data import Conditions, in_words, rows_of
from paraformer_bench.report.facts import Headline, headline
from paraformer_bench.report.figures import ratios, series, style, svg
from paraformer_bench.report.figures.chart import chart
from paraformer_bench.report.figures.panel import Axis
from paraformer_bench.report.figures.series import Panel, Series, grouped
from paraformer_bench.report.page import Block, Cell, Chart, Column, Page, Section, Table, alone
from paraformer_bench.study.case import Case, Curve, Method, Regime
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import PAGE, REPORTS, Run, RunInfo
from paraformer_bench.study.words import (
    NONE,
    count,
    moment,
    percent,
    span,
    time,
    times,
)

Paired = tuple[Case, Contrast]
ORDER = (SLOWER, FASTER, UNCLEAR, SAME, ONLY_A, ONLY_B)
LETTERS = string.ascii_uppercase
"""Short for the runs, of which there are so many at most."""

_SYMBOLS = {SLOWER: "↘", FASTER: "↗", UNCLEAR: "?", SAME: "=", ONLY_A: "A", ONLY_B: "B"}
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


@dataclass(frozen=True)
class Contender:
    """One of the runs.

    Attributes:
        letter: Short for it.
        run: As it was read.
        contrasts: Of its cases against those of the first run; empty for that itself and for a
            run that shares no case with it.
        shift: What moved all of it against the first run, in words; empty if nothing did.
    """

    letter: str
    run: Run
    contrasts: Sequence[Contrast] = ()
    shift: str = ""

    @property
    def name(self) -> str:
        """Of the run."""
        return self.run.info.name or self.run.folder.resolve().name

    @property
    def label(self) -> str:
        """Letter and name."""
        return f"{self.letter}: {self.name}"

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Of all its curves."""
        return verdict_file(self.run)

    @cached_property
    def headline(self) -> Headline:
        """What the run says by itself."""
        return headline(self.verdicts, self.run.info)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many cases came out how."""
        return Counter(contrast.verdict for contrast in self.contrasts)

    @cached_property
    def cases(self) -> list[Case]:
        """Of its records."""
        return list(dict.fromkeys(record.case for record in self.run.records))


@dataclass(frozen=True)
class Comparison:
    """Runs and what the further ones are against the first; see `contend`."""

    contenders: Sequence[Contender]
    threshold: float

    @cached_property
    def cases(self) -> dict[str, Case]:
        """By id, of all runs."""
        return {case.id: case for one in self.contenders for case in one.cases}

    @cached_property
    def regimes(self) -> dict[str, Conditions]:
        """By group."""
        return in_words(case.regime for case in self.cases.values())

    @property
    def slower(self) -> bool:
        """Whether any case of any run is slower than in the first one."""
        return any(one.counts[SLOWER] for one in self.contenders)

    def short(self, case: Case) -> str:
        """Words for the regime of a case."""
        return self.regimes[case.group].short


def contend(runs: Sequence[Run], threshold: float) -> Comparison:
    """Judge each further run against the first.

    Raises:
        UsageError: There are too few or too many runs, the threshold is out of range, or no
            further run shares a case or a curve, on whatever device, with the first.
    """
    if not 2 <= len(runs) <= len(LETTERS):
        raise UsageError(f"compare takes 2 to {len(LETTERS)} runs, not {len(runs)}")
    first, *others = runs
    contenders = [Contender("A", first)]
    problems = []
    for letter, run in zip(LETTERS[1:], others, strict=False):
        try:
            contrasts = rule.compare(first, run, threshold)
        except rule.NothingShared as error:
            problems.append(error)
            contenders.append(Contender(letter, run))
        else:
            shift = rule.shift(contrasts, first, run).words
            contenders.append(Contender(letter, run, _renamed(contrasts, letter), shift))
    comparison = Comparison(contenders, threshold)
    if len(problems) == len(others) and not _panels(comparison):
        raise problems[0]
    return comparison


def _renamed(contrasts: Sequence[Contrast], letter: str) -> list[Contrast]:
    """Return contrasts whose reasons call the second run by its letter."""
    return [replace(c, reason=c.reason.replace(" in B", f" in {letter}")) for c in contrasts]


def default_path(comparison: Comparison) -> Path:
    """Where the page lies if nothing else is said."""
    names = [one.run.folder.resolve().name for one in comparison.contenders]
    name = "--".join(names)
    if len(name.encode()) > 200:
        name = f"{names[0]}--and-{len(names) - 1}-more"
    return REPORTS / "compare" / f"{name}.html"


def write_comparison(path: Path, comparison: Comparison) -> Path:
    """Write the page of a comparison and return its path.

    Raises:
        UsageError: It cannot be written.
    """
    return page.write(path, page.render(_page(comparison, path.parent)))


def _page(comparison: Comparison, folder: Path) -> Page:
    runs, further = comparison.contenders, comparison.contenders[1:]
    verdicts = {verdict for one in further for verdict in one.counts}
    place = [html.rich("<span>{}: {}</span>", c.letter, html.prose(c.name, 120)) for c in runs]
    about = (
        "A case is slower or faster if that is sure, whatever the number of cases, and the "
        f"estimate is beyond {percent(comparison.threshold)}."
    )
    sections = [section for one in further for section in _against(comparison, one)]
    return Page(
        title=" and ".join(one.name[:40] for one in runs),
        place=html.joined(' <span aria-hidden="true">/</span> ', place),
        question=f"Is {'B' if len(further) == 1 else 'any of them'} slower than A?",
        heading=" ".join(map(_title, further)),
        tone=next((_ANSWERS[v] for v in ORDER[:2] if v in verdicts), "undecided"),
        claims=[*map(_sentence, further), about],
        banners=[html.rich("{}: {}.", one.letter, one.shift) for one in further if one.shift],
        sections=[
            *sections,
            *_verdicts(comparison),
            *alone(_latency(comparison)),
            _runs(comparison, folder),
            Section("rule", "The rule", [html.text(_RULE)]),
        ],
    )


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
    told = ", ".join(f"{one.counts[v]} {words[v]}" for v in ORDER if one.counts[v])
    return f"Of {count(len(one.contrasts), 'case')} in A and {one.letter}: {told}."


def _against(comparison: Comparison, one: Contender) -> list[Section]:
    """Return the ratios of a run over the first one as figures, and its cases as a table."""
    rows = [(comparison.cases[contrast.case_id], contrast) for contrast in one.contrasts]
    rows.sort(key=lambda row: (comparison.short(row[0]), row[0].curve.label, row[0].depth))
    groups: dict[str, list[Paired]] = {}
    for case, contrast in rows:
        if contrast.ratio is not None:
            groups.setdefault(comparison.short(case), []).append((case, contrast))
    threshold, number = comparison.threshold, one.letter.lower()
    body: list[Block] = [html.text(_RATIOS.format(one.letter, percent(threshold)))]
    limits = ratios.limits_of(one.contrasts, threshold)
    for place, (regime, pairs) in enumerate(groups.items(), start=1):
        named = [(f"{case.curve.label}, L = {case.depth}", held) for case, held in pairs]
        told = "; ".join(f"{label}: {_ratio(held)} {held.verdict}" for label, held in named)
        with style.drawing():
            figure = ratios.draw(named, one.letter, threshold, limits)
            title = f"{one.letter} over A: {regime}"
            drawing = svg.to_svg(figure, f"forest-{number}-{place}", title, told)
        body.append(html.drawing(drawing, title, regime))
    found = [Section(f"ratios-{number}", f"{one.letter} over A", body)] if groups else []
    if rows:
        title = f"Cases of A and {one.letter}"
        found.append(Section(f"cases-{number}", title, [_table(comparison, one, rows)]))
    return found


def _ratio(contrast: Contrast) -> str:
    return NONE if contrast.ratio is None else f"{contrast.ratio:.3f}×"


def _table(comparison: Comparison, one: Contender, rows: list[Paired]) -> Block:
    """Show the cases of a run, the clear changes first."""

    def verdict(row: Paired) -> Cell:
        name, why = row[1].verdict, row[1].reason
        symbol = one.letter if name == ONLY_B else _SYMBOLS[name]
        shown = name.replace("_B", f"_{one.letter}")
        tone = _TONES.get(name, "inconclusive")
        return Cell(html.badge(shown, symbol, tone), html.prose(why) if why else "")

    def seconds(row: Paired) -> Cell:
        pair = row[1].seconds_a, row[1].seconds_b
        told = " → ".join(NONE if one is None else time(one) for one in pair)
        return Cell(told, f"{row[1].basis} time" if row[1].basis else "")

    columns: list[Column[Paired]] = [
        Column("method", lambda row: html.rich("<bdi>{}</bdi>", row[0].curve.label)),
        Column("depth L", lambda row: Cell(str(row[0].depth), key=row[0].depth)),
        Column("verdict", verdict),
        Column(
            f"{one.letter} / A",
            lambda row: Cell(html.rich("<b>{}</b>", _ratio(row[1])), key=row[1].ratio),
        ),
        Column("interval", lambda row: span(row[1].low, row[1].high)),
        Column(f"A → {one.letter}", seconds),
        Column("blocks", lambda row: f"{row[1].blocks_a}, {row[1].blocks_b}"),
    ]
    if len({comparison.short(case) for case, _ in rows}) > 1:
        where = "<small><bdi>{}</bdi></small>"
        columns.append(Column("where", lambda row: html.rich(where, comparison.short(row[0]))))
    return Table(columns, sorted(rows, key=lambda row: ORDER.index(row[1].verdict)))


def _verdicts(comparison: Comparison) -> list[Section]:
    """Return the verdicts of every curve that at least two runs have, side by side."""
    curves: dict[tuple[str, str], dict[int, Verdict]] = {}
    for place, one in enumerate(comparison.contenders):
        for verdict in deciding(one.verdicts):
            key = _where(verdict.curve.regime), verdict.curve.label
            curves.setdefault(key, {})[place] = verdict
    rows = [held for held in curves.values() if len(held) > 1]
    if not rows:
        nothing = html.text("No two of these runs have a curve in common.")
        return [Section("verdicts", "Verdicts", [nothing])]
    words = (
        "Deepest depth up to which each curve is constant, and its largest growth, judged run by "
        "run."
    )
    if lonely := len(curves) - len(rows):
        words += f" {html.be(lonely, 'curve', ' that one run alone has')} left out."

    def curve(held: dict[int, Verdict]) -> Curve:
        return next(iter(held.values())).curve

    def who(held: dict[int, Verdict]) -> str:
        where = _where(curve(held).regime)
        return html.rich("{} <small><bdi>{}</bdi></small>", html.method(curve(held)), where)

    def mark(held: dict[int, Verdict], place: int) -> Cell | str:
        if place not in held:
            return NONE
        verdict = held[place]
        told = html.rich(
            '<span class="mark {0}"><span aria-hidden="true">{1}</span> {0}, '
            "L = {2} of {3}</span>",
            verdict.verdict,
            html.SYMBOLS[verdict.verdict],
            verdict.constant_up_to,
            verdict.depths[-1],
        )
        return Cell(told, times(verdict.worst.ratio) if verdict.worst else NONE)

    columns = [Column("curve", who)]
    for place, one in enumerate(comparison.contenders):
        head = html.rich("{}: <bdi>{}</bdi>", one.letter, one.name[:40])
        columns.append(Column(head, partial(mark, place=place)))
    rows.sort(key=lambda held: (_where(curve(held).regime), curve(held).sort_key))
    table = Table(columns, rows, look="grid sortable", label="Verdicts of every run")
    return [Section("verdicts", "Verdicts", [html.text(words), table])]


def _where(regime: Regime) -> str:
    """Words for all conditions but the device."""
    return " · ".join(word for name, word in regime.words.items() if name != "device")


def _latency(comparison: Comparison) -> Chart | None:
    """Draw the latency of every curve that at least two runs have."""
    panels = _panels(comparison)
    regimes = {
        panel.group: Conditions(number, {"group": panel.group}, short)
        for number, (panel, short) in enumerate(panels)
    }
    looks = style.looks(_stand_in(one) for one in comparison.contenders)
    axis = Axis("time per call (ms)", "ms", {})
    drawn = [panel for panel, _ in panels]
    return chart("latency", "Latency against depth", _LATENCY, drawn, axis, looks, regimes)


def _stand_in(one: Contender) -> Curve:
    """A curve whose label is that of a run."""
    return Curve(Method(one.label, "", "eager"), Regime((), 1, "", ""))


def _panels(comparison: Comparison) -> list[tuple[Panel, str]]:
    """Return a panel for each way to run a net under the same conditions, and words for it."""
    curves: dict[tuple[str, tuple[object, ...]], dict[int, list[Any]]] = {}
    for place, one in enumerate(comparison.contenders):
        rows = rows_of(case_table(one.run.records), one.run.records)
        for groups in grouped(rows).values():
            for held in groups.values():
                curve = held[0].curve
                key = _where(curve.regime), curve.sort_key
                # Two devices of one run are two curves of it: the first one stands for it.
                curves.setdefault(key, {}).setdefault(place, held)
    found = []
    for (where, _), runs in sorted(curves.items()):
        on_device = all(any(row.device_time > 0 for row in held) for held in runs.values())
        column = "device_time" if on_device else "wall"
        drawn = [
            Series(_stand_in(comparison.contenders[place]), panel.series[0].points)
            for place, held in runs.items()
            for panel in series.latency(held, column)
            if panel.series[0].points
        ]
        if len(drawn) > 1:
            label = next(iter(runs.values()))[0].curve.label
            clock = "device time" if on_device else "wall clock"
            panel = Panel(f"{label} · {where} · {clock}", where, tuple(drawn))
            found.append((panel, f"{label} ({clock})"))
    return found


Told = tuple[str, list[str]]
"""Something that runs say of themselves, and what each one says."""

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


def _runs(comparison: Comparison, folder: Path) -> Section:
    """Return what each run says by itself, and in what they differ."""
    runs = comparison.contenders
    rows: list[Told] = [
        ("the claim", [f"{one.headline.symbol} {one.headline.answer}" for one in runs]),
        ("in words", [" ".join(one.headline.sentences) for one in runs]),
        ("used", [facts.hardware((c.device for c in one.cases), one.run.info) for one in runs]),
        ("blocks", [str(len({record.block for record in one.run.records})) for one in runs]),
    ]
    for name, told in _DIFFERENCES.items():
        held = [told(one.run.info) for one in runs]
        for key in dict.fromkeys(key for values in held for key in values):
            texts = [str(v.get(key)) if v.get(key) not in (None, "") else NONE for v in held]
            if len(set(texts)) > 1:
                rows.append((f"{name} {key}".strip(), texts))

    def value(row: Told, place: int) -> str:
        return html.prose(row[1][place], 400)

    columns = [Column[Told]("what", lambda row: html.rich("<bdi>{}</bdi>", row[0]))]
    for place, one in enumerate(runs):
        target, name = one.run.folder.resolve() / PAGE, html.rich("<bdi>{}</bdi>", one.name[:120])
        link = quote(os.path.relpath(target, folder.resolve()))
        linked = html.rich('<a href="{}">{}</a>', link, name) if target.is_file() else name
        head = html.rich("{}: {}", one.letter, linked)
        columns.append(Column(head, partial(value, place=place), one.letter))
    body: list[Block] = [
        html.text("What each says by itself, then in what they differ."),
        Table(columns, rows, look="plain"),
    ]
    warnings = [f"{one.run.folder}: {warning}" for one in runs for warning in one.run.warnings]
    if warnings:
        body += [html.heading("Broken lines"), html.bullets(warnings)]
    return Section("runs", "The runs", body)
