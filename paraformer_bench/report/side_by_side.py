"""Several runs on the same axes: other devices, commits or versions of PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.compare import compare
from paraformer_bench.analysis.machines import shift
from paraformer_bench.analysis.tables import case_table
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.analysis.words import deciding
from paraformer_bench.report import comparison, facts, page, style, units
from paraformer_bench.report.charts import Chart, chart
from paraformer_bench.report.headline import Headline, headline
from paraformer_bench.report.regimes import Regime, words_of
from paraformer_bench.report.scales import Axis
from paraformer_bench.report.series import Line, Panel, Point, Series, latency, line_of
from paraformer_bench.report.verdict_rows import SYMBOLS
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import PAGE, Run, read_run

FOLDER = "side-by-side"
"""Below the runs' folder: one page a set of runs."""

MOST_RUNS = 9
"""As many as there are colours."""


@dataclass(frozen=True)
class Entrant:
    """One of the runs.

    Attributes:
        letter: Short for it.
        name: Of the run.
        link: Its page, relative to this one.
        headline: What it says.
        facts: Device, date, commit, versions.
        against: How it compares with the first run; empty for the first one.
    """

    letter: str
    name: str
    link: str
    headline: Headline
    facts: facts.Facts
    against: str


@dataclass(frozen=True)
class Mark:
    """Verdict of one curve in one run."""

    symbol: str
    verdict: str
    up_to: str
    growth: str


@dataclass(frozen=True)
class Row:
    """One way to run a net under the same conditions; None for a run without a verdict."""

    line: Line
    where: str
    marks: list[Mark | None]


def write_side_by_side(folders: Sequence[Path]) -> Path:
    """Write a page with several runs on the same axes, and return it.

    It lies in `FOLDER` beside the first run.

    Raises:
        UsageError: There are too few or too many runs, one cannot be read, or the page cannot be
            written.
    """
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    if not 2 <= len(folders) <= MOST_RUNS:
        raise UsageError(f"side by side stand 2 to {MOST_RUNS} runs, not {len(folders)}")
    runs = [read_run(folder) for folder in folders]
    path = folders[0].parent / FOLDER / f"{'--'.join(folder.name for folder in folders)}.html"
    if len(path.name.encode()) > 200:
        path = path.with_name(f"{folders[0].name}--and-{len(folders) - 1}-more.html")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return page.write(path, page.render("side_by_side.html.j2", **_context(runs, path.parent)))


def _context(runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    verdicts = [verdict_file(run) for run in runs]
    letters = [chr(ord("A") + place) for place in range(len(runs))]
    entrants = [
        _entrant(letter, run, held, "" if run is runs[0] else _against(runs[0], run), folder)
        for letter, run, held in zip(letters, runs, verdicts, strict=True)
    ]
    rows = _rows(verdicts)
    shared = [row for row in rows if sum(mark is not None for mark in row.marks) > 1]
    return {
        "entrants": entrants,
        "rows": shared,
        "alone": len(rows) - len(shared),
        "charts": _charts(runs, entrants),
        "same": _same(entrants),
    }


def _entrant(
    letter: str, run: Run, verdicts: Sequence[Verdict], against: str, folder: Path
) -> Entrant:
    info = run.info
    versions = facts.table(info, "versions")
    told = [
        ("device", facts.hardware((record.case.device for record in run.records), info)),
        ("measured", units.moment(facts.text(info, "started"))),
        ("commit", facts.commit(info)),
        ("suite", str(facts.table(info, "suite").get("name") or "")),
        ("torch", str(versions.get("torch") or "")),
        ("blocks", str(len({record.block for record in run.records}))),
    ]
    relative = Path("..") / run.folder.name if run.folder.parent == folder.parent else run.folder
    link = quote((relative / PAGE).as_posix())
    name = facts.text(info, "name") or run.folder.name
    known = [(what, value) for what, value in told if value]
    return Entrant(letter, name, link, headline(verdicts, info), known, against)


def _against(first: Run, run: Run) -> str:
    """Say how the cases of a run compare with those of the first one."""
    try:
        contrasts = compare(first, run)
    except UsageError:
        return "It shares no measured case with A: devices and conditions are part of a case."
    counts = Counter(contrast.verdict for contrast in contrasts)
    moved = shift(contrasts, first, run).words
    said = comparison.sentence(counts).replace("in B alone", "here alone")
    return f"Against A: {said}" + (f" {moved[0].upper()}{moved[1:]}." if moved else "")


def _same(entrants: Sequence[Entrant]) -> facts.Facts:
    """Return what all runs say alike."""
    first, *others = [dict(entrant.facts) for entrant in entrants]
    return [
        (what, value)
        for what, value in first.items()
        if all(other.get(what) == value for other in others)
    ]


def _rows(verdicts: Sequence[Sequence[Verdict]]) -> list[Row]:
    found: dict[tuple[Line, str], list[Mark | None]] = {}
    for place, held in enumerate(verdicts):
        for verdict in deciding(held):
            row = verdict.to_json()
            marks = found.setdefault((line_of(row), _where(row)), [None] * len(verdicts))
            growth = units.times(verdict.worst.ratio) if verdict.worst else units.NONE
            up_to = f"L = {verdict.constant_up_to} of {verdict.depths[-1]}"
            marks[place] = Mark(SYMBOLS[verdict.verdict], verdict.verdict, up_to, growth)
    rows = [Row(line, where, marks) for (line, where), marks in found.items()]
    return sorted(rows, key=lambda row: _serial_first(((row.line, row.where), row)))


def _serial_first(item: tuple[tuple[Line, str], object]) -> tuple[str, bool, Line]:
    (line, where), _ = item
    return where, line.model != "serial", line


def _where(row: Mapping[Any, Any]) -> str:
    """Words for all conditions but the device."""
    return " · ".join(word for name, word in words_of(row).items() if name != "device")


def _charts(runs: Sequence[Run], entrants: Sequence[Entrant]) -> list[Chart]:
    """Return the latency of every curve that at least two runs have."""
    lines = [Line(f"{one.letter}: {one.name}", "", "eager") for one in entrants]
    curves: dict[tuple[Line, str], dict[int, pd.DataFrame]] = {}
    for place, run in enumerate(runs):
        cases = case_table(run.records)
        for _, curve in cases.groupby("curve_id", sort=False):
            row = curve.iloc[0].to_dict()
            # Two devices of one run are two curves of it: the first one stands for it.
            curves.setdefault((line_of(row), _where(row)), {}).setdefault(place, curve)
    panels: list[Panel] = []
    regimes: dict[str, Regime] = {}
    for (line, where), held in sorted(curves.items(), key=_serial_first):
        on_device = all((curve["device_time"] > 0).any() for curve in held.values())
        column = "device_time" if on_device else "wall"
        series = tuple(
            Series(lines[place], points)
            for place, curve in held.items()
            if (points := _points(curve, column))
        )
        if len(series) > 1:
            group = f"{line.label} · {where}"
            clock = "device time" if on_device else "wall clock"
            short, full = f"{line.label} ({clock})", f"{group} · {clock}"
            regimes[group] = Regime(group, short, full, number=len(regimes))
            panels.append(Panel(group, where, series))
    if not panels:
        return []
    axis = Axis("time per call (ms)", "ms", {})
    note = (
        "One panel for each way to run a net under the same conditions, whatever the device; one "
        "curve a run. Vertical bars are 95% intervals over the blocks of one run: what moved "
        "between runs is not in them."
    )
    return [
        chart("latency", "Latency against depth", note, panels, axis, style.looks(lines), regimes)
    ]


def _points(curve: pd.DataFrame, column: str) -> tuple[Point, ...]:
    panels = latency(curve, curve.iloc[:0].assign(block=0), column)
    return tuple(point for panel in panels for some in panel.series for point in some.points)
