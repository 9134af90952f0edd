"""The page of a comparison of two runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from paraformer_bench.analysis.compare import (
    FASTER,
    ONLY_A,
    ONLY_B,
    SAME,
    SLOWER,
    UNCLEAR,
    Contrast,
)
from paraformer_bench.analysis.machines import Shift
from paraformer_bench.report import facts, forest, page, style, svg, units
from paraformer_bench.report.regimes import regimes
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import REPORTS, Run

ORDER = (SLOWER, FASTER, UNCLEAR, SAME, ONLY_A, ONLY_B)
_SYMBOLS = {SLOWER: "↘", FASTER: "↗", UNCLEAR: "?", SAME: "=", ONLY_A: "A", ONLY_B: "B"}
_CLASSES = {SLOWER: "grows", FASTER: "constant"}


@dataclass(frozen=True)
class Row:
    """One case: who, and what became of it."""

    method: str
    depth: int
    regime: str
    contrast: Contrast
    symbol: str
    tone: str
    ratio: str
    interval: str
    seconds: str
    blocks: str


@dataclass(frozen=True)
class Panel:
    """The figure of one regime."""

    regime: str
    svg: Markup


def default_path(run_a: Run, run_b: Run) -> Path:
    """Where the page lies if nothing else is said."""
    names = (run.folder.resolve().name for run in (run_a, run_b))
    return REPORTS / "compare" / f"{'--'.join(names)}.html"


def write_comparison(
    path: Path,
    run_a: Run,
    run_b: Run,
    contrasts: Sequence[Contrast],
    shift: Shift,
    threshold: float,
) -> Path:
    """Write the page of a comparison and return its path.

    Raises:
        UsageError: The folder cannot be written.
    """
    cases = {record.case.id: record.case for run in (run_a, run_b) for record in run.records}
    known = regimes(
        pd.DataFrame([case.to_json() | {"group": case.group} for case in cases.values()])
    )
    rows = [
        _row(contrast, case, known[case.group].short)
        for contrast, case in ((contrast, cases[contrast.case_id]) for contrast in contrasts)
    ]
    rows.sort(key=lambda row: (row.regime, row.method, row.depth))
    rows.sort(key=lambda row: ORDER.index(row.contrast.verdict))
    counts = Counter(contrast.verdict for contrast in contrasts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return page.write(
        path,
        page.render(
            "compare.html.j2",
            title=_title(counts),
            tone=_CLASSES.get(next(v for v in ORDER if counts[v]), "open"),
            sentence=sentence(counts),
            shift=shift.words,
            names=[run.folder.resolve().name for run in (run_a, run_b)],
            differences=_differences(run_a.info, run_b.info),
            warnings=[f"{run.folder}: {w}" for run in (run_a, run_b) for w in run.warnings],
            threshold=threshold,
            panels=_panels(rows, threshold),
            rows=rows,
            regimes=len({row.regime for row in rows}),
        ),
    )


def _title(counts: Mapping[str, int]) -> str:
    if counts[SLOWER]:
        return f"B is slower in {units.count(counts[SLOWER], 'case')}."
    if counts[FASTER]:
        return f"B is faster in {units.count(counts[FASTER], 'case')}, and slower in none."
    if counts[UNCLEAR]:
        return "No case is slower or faster for sure."
    return "B is as fast as A."


def sentence(counts: Mapping[str, int]) -> str:
    """Say how many cases came out how."""
    words = {
        SLOWER: "slower",
        FASTER: "faster",
        SAME: "the same",
        UNCLEAR: "unclear",
        ONLY_A: "in A alone",
        ONLY_B: "in B alone",
    }
    told = ", ".join(f"{counts[verdict]} {words[verdict]}" for verdict in ORDER if counts[verdict])
    return f"Of {units.count(sum(counts.values()), 'case')}: {told}."


def _row(contrast: Contrast, case: Case, regime: str) -> Row:
    pair = (contrast.seconds_a, contrast.seconds_b)
    times = [units.NONE if seconds is None else units.time(seconds) for seconds in pair]
    method = f"{case.model} {case.execution}, {case.runtime}"
    if case.devices != 1:
        method += f", {case.devices} devices"
    if case.branch_depth != 1:
        method += f", branch depth {case.branch_depth}"
    return Row(
        method,
        case.depth,
        regime,
        contrast,
        _SYMBOLS[contrast.verdict],
        _CLASSES.get(contrast.verdict, "inconclusive"),
        units.NONE if contrast.ratio is None else f"{contrast.ratio:.3f}×",
        units.span(contrast.low, contrast.high),
        f"{times[0]} → {times[1]}",
        f"{contrast.blocks_a}, {contrast.blocks_b}",
    )


def _panels(rows: Sequence[Row], threshold: float) -> list[Panel]:
    known = [row for row in rows if row.contrast.ratio is not None]
    if not known:
        return []
    ends = forest.reach([row.contrast for row in known], threshold)
    groups: dict[str, list[Row]] = {}
    for row in known:
        groups.setdefault(row.regime, []).append(row)
    panels = []
    with style.drawing():
        for number, (regime, held) in enumerate(sorted(groups.items()), start=1):
            held.sort(key=lambda row: (row.method, row.depth))
            lines = [(f"{row.method}, L = {row.depth}", row.contrast) for row in held]
            figure = forest.draw(lines, threshold, ends)
            told = "; ".join(
                f"{label}: {row.ratio} {row.contrast.verdict}"
                for (label, _), row in zip(lines, held, strict=True)
            )
            drawing = svg.to_svg(figure, f"forest-{number}", f"B over A: {regime}", told)
            panels.append(Panel(regime, drawing))
    return panels


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what the two runs say of themselves where they do not say the same."""
    pairs = [
        (name, _flat(value_of(a)), _flat(value_of(b)))
        for name, value_of in (
            ("measured", lambda info: {"": units.moment(facts.text(info, "started"))}),
            ("commit", lambda info: {"": facts.commit(info)}),
            ("device", lambda info: facts.devices(info)),
            ("suite", lambda info: {"": facts.table(info, "suite").get("name")}),
            ("protocol", lambda info: facts.table(info, "suite", "protocol")),
            ("version", lambda info: facts.table(info, "versions")),
            ("host", lambda info: facts.table(info, "environment", "host")),
        )
    ]
    return [
        (f"{name} {key}".strip(), left.get(key, units.NONE), right.get(key, units.NONE))
        for name, left, right in pairs
        for key in dict.fromkeys([*left, *right])
        if left.get(key) != right.get(key)
    ]


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items() if value not in (None, "")}
