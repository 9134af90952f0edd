"""The index of all runs in a folder of reports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.report import facts, page, units
from paraformer_bench.report.headline import Headline, headline
from paraformer_bench.report.sparkline import Spark, sparkline
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import PAGE, RUN, read_run


@dataclass(frozen=True)
class Entry:
    """One run in the list.

    Attributes:
        name: Of the run.
        link: Its page, relative to the index; empty while it has none.
        started: ISO time; the list is ordered by it.
        measured: The same as people read it.
        device: Hardware measured.
        commit: Of the code that measured.
        finished: Whether the run came to its end.
        headline: What it says; null if it cannot be read.
        sparks: Its curves as a small drawing.
        problem: Why it cannot be read; empty if it can.
    """

    name: str
    link: str
    started: str
    measured: str
    device: str
    commit: str
    finished: bool
    headline: Headline | None
    sparks: list[Spark]
    problem: str


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
    changes, asv = (
        f"{name}/{PAGE}" if (reports / name / PAGE).is_file() else ""
        for name in ("regressions", "asv")
    )
    text = page.render("library.html.j2", entries=entries, changes=changes, asv=asv)
    return page.write(reports / PAGE, text)


def _entry(folder: Path) -> Entry:
    link = f"{quote(folder.name)}/{PAGE}" if (folder / PAGE).is_file() else ""
    try:
        run = read_run(folder)
        verdicts = verdict_file(run)
        said = headline(verdicts, run.info)
    except Exception as error:  # one broken run, whatever ails it, must not hide the others
        problem = str(error) if isinstance(error, UsageError) else repr(error)
        return Entry(folder.name, link, "", "", "", "", False, None, [], problem)
    info = run.info
    return Entry(
        name=facts.text(info, "name") or folder.name,
        link=link,
        started=facts.text(info, "started"),
        measured=units.moment(facts.text(info, "started")),
        device=facts.hardware((record.case.device for record in run.records), info),
        commit=facts.commit(info),
        finished=info.get("finished") is not None,
        headline=said,
        sparks=sparkline(verdicts),
        problem="",
    )
