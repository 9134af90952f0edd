"""The list of all runs in a folder of reports, each with its answer and a small drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from paraformer_bench.analysis.claim import Verdict, verdict_file
from paraformer_bench.analysis.words import deciding
from paraformer_bench.report import facts, page
from paraformer_bench.report.facts import Headline, headline
from paraformer_bench.study.case import SERIAL
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import PAGE, RUN, read_run
from paraformer_bench.study.words import moment

_WIDTH, _HEIGHT, _EDGE = 120.0, 44.0, 3.0
_MOST_CURVES = 40
"""Of a drawing; more would be a blot."""


@dataclass(frozen=True)
class RunEntry:
    """One run in the list; what cannot be read of it is empty.

    Attributes:
        link: Its page, relative to the list; empty while it has none.
        started: ISO time; the list is ordered by it.
        sparks: Its curves as a small drawing: whether each is a serial net's, and its points.
    """

    name: str
    link: str
    problem: str = ""
    started: str = ""
    device: str = ""
    commit: str = ""
    finished: bool = False
    headline: Headline | None = None
    sparks: Sequence[tuple[bool, str]] = ()


def build_index(reports: Path) -> Path:
    """Write ``index.html`` with every run folder in ``reports``, newest first, and return it.

    A run that cannot be read is listed with what is wrong with it.

    Raises:
        UsageError: ``reports`` is no folder or cannot be written.
    """
    if not reports.is_dir():
        raise UsageError(f"{reports} is not a folder of reports")
    folders = sorted(path.parent for path in reports.glob(f"*/{RUN}"))
    entries = sorted(map(_entry, folders), key=lambda entry: entry.name)
    entries.sort(key=lambda entry: entry.started, reverse=True)
    changes, asv = _link(reports / "regressions"), _link(reports / "asv")
    context = {"entries": entries, "changes": changes, "asv": asv, "moment": moment}
    return page.write(reports / PAGE, page.render_template("library.html.j2", **context))


def _link(folder: Path) -> str:
    return f"{quote(folder.name)}/{PAGE}" if (folder / PAGE).is_file() else ""


def _entry(folder: Path) -> RunEntry:
    link = _link(folder)
    try:
        run = read_run(folder)
        verdicts = verdict_file(run)
        said = headline(verdicts, run.info)
    except Exception as error:  # one broken run, whatever ails it, must not hide the others
        problem = str(error) if isinstance(error, UsageError) else repr(error)
        return RunEntry(folder.name, link, problem)
    info = run.info
    return RunEntry(
        name=info.name or folder.name,
        link=link,
        started=info.started or "",
        device=facts.hardware((record.case.device for record in run.records), info),
        commit=facts.commit(info),
        finished=info.finished is not None,
        headline=said,
        sparks=sparkline(verdicts),
    )


def sparkline(verdicts: Sequence[Verdict]) -> list[tuple[bool, str]]:
    """Return whether each curve is a serial net's, and its points for an SVG polyline.

    Drawn is time over that of the shallowest depth against depth, both logarithmic. All curves
    share their axes; a constant one is level, a serial net rises to the upper right.
    """
    curves = []
    for verdict in deciding(verdicts):
        points = [(math.log(r.depth), math.log(r.ratio)) for r in verdict.ratios if r.ratio]
        if len(points) > 1:
            curves.append((verdict.model == SERIAL, points))
    curves = curves[:_MOST_CURVES]
    if not curves:
        return []
    depths, growths = zip(*(point for _, points in curves for point in points), strict=True)
    low, high = min(0.0, *growths), max(math.log(2), *growths)
    across = (_WIDTH - 2 * _EDGE) / (max(depths) - min(depths))
    up = (_HEIGHT - 2 * _EDGE) / (high - low)

    def place(depth: float, growth: float) -> str:
        x, y = across * (depth - min(depths)), up * (growth - low)
        return f"{_EDGE + x:.1f},{_HEIGHT - _EDGE - y:.1f}"

    return [(serial, " ".join(place(*point) for point in points)) for serial, points in curves]
