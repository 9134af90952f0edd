"""A run as Markdown, for a pull request or a message."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.tables import block_table, case_table
from paraformer_bench.report import facts, issues, units
from paraformer_bench.report.headline import headline
from paraformer_bench.report.regimes import regimes
from paraformer_bench.report.verdict_rows import verdict_tables
from paraformer_bench.study.run_folder import read_run

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def summary(folder: Path) -> str:
    """Return the verdicts of a run, judged anew, as Markdown with tables.

    Raises:
        UsageError: ``folder`` holds no readable run.
    """
    run = read_run(folder)
    verdicts = verdict_file(run)
    blocks, cases = block_table(run.records), case_table(run.records)
    all_regimes = regimes(cases)
    said: str = (
        _environment()
        .get_template("summary.md.j2")
        .render(
            name=facts.text(run.info, "name") or run.folder.resolve().name,
            headline=headline(verdicts, run.info),
            device=facts.hardware(cases["device"], run.info),
            measured=units.moment(facts.text(run.info, "started")),
            commit=facts.commit(run.info),
            finished=run.info.get("finished") is not None,
            shard=facts.shard(run.info),
            tables=verdict_tables(cases, verdicts, all_regimes),
            rule=verdicts[0] if verdicts else None,
            flags=issues.flag_counts(blocks),
            recount=issues.recount(verdicts),
            failures=issues.failures(blocks, all_regimes),
            records=len(run.records),
            warnings=run.warnings,
            command=facts.command(run.info),
        )
    )
    return units.printable(said)


class Ready(str):
    """Text that is Markdown already."""


def escape(text: object) -> str:
    """Return text in which nothing is Markdown or HTML, on one line."""
    if isinstance(text, Ready):
        return text
    return _ACTIVE.sub(r"\\\1", " ".join(str(text).split()))


def code(text: str) -> Ready:
    """Return a block of code that nothing in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Ready(f"{fence}\n{text}\n{fence}")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("paraformer_bench.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape,
    )
    environment.globals.update(code=code, percent=units.percent)
    environment.filters["count"] = units.count
    return environment
