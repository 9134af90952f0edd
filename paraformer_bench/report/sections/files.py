"""Data: the files of the run with their hashes, the table of cases, and how to cite the run."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from paraformer_bench.report import facts, html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.page import Block, Column, Section, Table
from paraformer_bench.study import __version__
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import (
    PARQUET,
    PREDICTIONS,
    RECORDS,
    RUN,
    TIMELINES,
    VERDICTS,
    RunInfo,
)
from paraformer_bench.study.words import printable, size

ORDER = 110

_CONTENTS = {
    RECORDS: "every timed call of every block",
    VERDICTS: "the judgement of every curve",
    PREDICTIONS: "the latency model of every curve",
    TIMELINES: "what the kernel timelines show, in numbers",
    RUN: "suite, command, machine, versions, commit",
    PARQUET: "one row a case, as in cases.csv",
}

_PAPER = """\
@misc{wang2024dynamic,
  title  = {Dynamic Universal Approximation Theory: Foundations for Parallelism in Neural \
Networks},
  author = {Wang, Wei and Li, Qing},
  year   = {2024},
  eprint = {2407.21670},
  archivePrefix = {arXiv},
}"""


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    devices = [row.curve.regime.device for row in data.rows]
    csv = quote(printable(case_csv(data.cases)), safe="/,.:;()*+-_")
    download = (
        '<a download="cases.csv" href="data:text/csv;charset=utf-8,{}">cases.csv</a>: one row a '
        "case, seconds and bytes; it is part of this page. Beside it in the run folder:"
    )
    python = (
        'In Python, <code>paraformer_bench.load_run("reports/…")</code> gives all of it as tables.'
    )

    def digest(path: Path) -> str:
        value = hashlib.sha256(path.read_bytes()).hexdigest()
        return html.rich('<code class="digest">{}</code>', value)

    columns: list[Column[Path]] = [
        Column("file", lambda path: html.rich('<a href="{0}">{0}</a>', path.name)),
        Column("size", lambda path: size(path.stat().st_size)),
        Column("what is in it", lambda path: _CONTENTS[path.name], "contents"),
        Column("SHA-256", digest),
    ]
    files = [path for path in map(data.run.folder.joinpath, _CONTENTS) if path.is_file()]
    body: list[Block] = [
        html.text(html.rich(download, csv)),
        Table(columns, files, look="plain"),
        html.text(html.rich(python)),
        html.heading("To cite it"),
        html.listing(citation(data.run.info, data.name, devices)),
    ]
    return [Section("data", "Data", body, "Data")]


def case_csv(cases: pd.DataFrame) -> str:
    """Return the case table as CSV; flags as ``drift:3 throttled:1``."""
    table = _plain_table(cases)
    # Before Python 3.11 the csv module refuses a null character.
    table = table.map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    text: str = table.to_csv(index=False, float_format="%.5g", lineterminator="\n")
    return text


def write_parquet(folder: Path, cases: pd.DataFrame) -> None:
    """Write the case table as Parquet where pyarrow is installed (extra ``parquet``).

    Raises:
        UsageError: The folder cannot be written.
    """
    path = folder / PARQUET
    try:
        if importlib.util.find_spec("pyarrow") is None:
            path.unlink(missing_ok=True)  # one of an earlier state of the run would be offered
        else:
            _plain_table(cases).to_parquet(path, engine="pyarrow", index=False)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def _plain_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the case table without the names that its other columns make up."""
    flags = [" ".join(f"{flag}:{n}" for flag, n in row.items()) for row in cases["flags"]]
    table = cases.drop(columns=["curve_id", "regime", "group", "method"]).assign(flags=flags)
    whole = ["peak_bytes", "reserved_bytes", "parameter_bytes", "flops", "traced_operations"]
    table[whole] = table[whole].round().astype("Int64")
    return table


def citation(info: RunInfo, name: str, devices: Iterable[str]) -> str:
    """Return BibTeX for a run and for the paper whose claim it is about."""
    started, commit = info.started or "", facts.commit(info)
    year = started[:4] if re.match(r"\d{4}-", started) else ""
    told = facts.hardware(devices, info), f"commit {commit}" if commit else "", started[:10]
    note = ", ".join(filter(None, told))
    key = re.sub(r"[^A-Za-z0-9-]", "", name) or "run"
    fields = {"title": f"paraformer_bench {__version__}: run {name}", "year": year, "note": note}
    lines = [f"  {field:<7}= {{{_plain(value)}}}," for field, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}", _PAPER])


def _plain(text: str) -> str:
    """Return text that means nothing to TeX and cannot end its field."""
    kept = re.sub(r"[{}\\]", " ", text)
    return re.sub(r"([#$%&_])", r"\\\1", " ".join(kept.split()))
