"""A run as Markdown, for a pull request or a message."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.report import facts
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.facts import headline
from paraformer_bench.report.html import SYMBOLS
from paraformer_bench.report.sections.validity import failures, flag_counts, recount
from paraformer_bench.report.sections.verdicts import NUMBERS, verdict_rows
from paraformer_bench.study import words
from paraformer_bench.study.run_folder import read_run

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def summary(folder: Path) -> str:
    """Return the verdicts of a run, judged anew, as Markdown with tables.

    Raises:
        UsageError: ``folder`` holds no readable run.
    """
    run = read_run(folder)
    data = ReportData(run, verdict_file(run))
    info = run.info
    environment = Environment(
        loader=PackageLoader("paraformer_bench.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape,
    )
    environment.filters["count"] = words.count
    said = environment.get_template("summary.md.j2").render(
        data=data,
        headline=headline(data.verdicts, info),
        device=facts.hardware((row.device for row in data.rows), info),
        measured=words.moment(info.started or ""),
        commit=facts.commit(info),
        command=facts.command(info),
        tables=verdict_rows(data),
        flags=flag_counts(run.records),
        recount=recount(data.verdicts),
        failures=failures(run.records, data.regimes),
        code=code,
        percent=words.percent,
        numbers=NUMBERS,
        symbols=SYMBOLS,
    )
    return words.printable(said)


class Markdown(str):
    """Text that is Markdown already."""


def escape(text: object) -> str:
    """Return text in which nothing is Markdown or HTML, on one line."""
    if isinstance(text, Markdown):
        return text
    return _ACTIVE.sub(r"\\\1", " ".join(str(text).split()))


def code(text: str) -> Markdown:
    """Return a block of code that nothing in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}\n{text}\n{fence}")
