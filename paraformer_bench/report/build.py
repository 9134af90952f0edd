"""A run folder to its page: read, judge, draw, write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.predictions import Prediction, predict
from paraformer_bench.analysis.roofline import cases_with_floors
from paraformer_bench.analysis.tables import block_table
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.report import facts, issues, page, units
from paraformer_bench.report.charts import charts, time_column
from paraformer_bench.report.downloads import case_csv, citation, downloads, write_parquet
from paraformer_bench.report.filters import filters
from paraformer_bench.report.headline import headline
from paraformer_bench.report.outlook import outlook
from paraformer_bench.report.price import price
from paraformer_bench.report.regimes import regimes, shared
from paraformer_bench.report.series import line_of
from paraformer_bench.report.style import looks
from paraformer_bench.report.timelines import counts, timelines
from paraformer_bench.report.traces import Traces, read_traces
from paraformer_bench.report.verdict_rows import overview, verdict_tables
from paraformer_bench.report.why import why
from paraformer_bench.study.run_folder import (
    PAGE,
    PREDICTIONS,
    TIMELINES,
    VERDICTS,
    Run,
    read_run,
)

_METHOD = "../../docs/method.md"


def build_report(folder: Path) -> Path:
    """Judge a run anew, write what follows from its records, and return the page.

    Written are ``verdicts.json``, ``predictions.json``, ``timelines.json`` (where there are
    traces), ``cases.parquet`` (where pyarrow is installed) and ``index.html``.

    Building twice from the same records gives the same bytes.

    Raises:
        UsageError: ``folder`` holds no readable run or cannot be written.
    """
    run = read_run(folder)
    verdicts = verdict_file(run)
    predictions = predict(run, verdicts)
    _write_list(folder / VERDICTS, [verdict.to_json() for verdict in verdicts])
    _write_list(folder / PREDICTIONS, [prediction.to_json() for prediction in predictions])
    traces = read_traces(run)
    if traces.traced:
        _write_list(folder / TIMELINES, [traced.to_json() for traced in traces.traced])
    cases = _cases(run, traces)
    write_parquet(folder, cases)
    context = _context(run, cases, verdicts, predictions, traces)
    return page.write(folder / PAGE, page.render("run.html.j2", **context))


def _write_list(path: Path, entries: list[dict[str, Any]]) -> None:
    page.write(path, json.dumps(entries, indent=1, allow_nan=False) + "\n")


def _cases(run: Run, traces: Traces) -> pd.DataFrame:
    """Return the case table with the roofline time and what the timelines count."""
    cases = cases_with_floors(run)
    cases["traced_operations"] = cases["case_id"].map(counts(traces)).astype("float64")
    return cases


def _context(
    run: Run,
    cases: pd.DataFrame,
    verdicts: Sequence[Verdict],
    predictions: Sequence[Prediction],
    traces: Traces,
) -> dict[str, Any]:
    """Return everything the template of a run page names."""
    info = run.info
    name = facts.text(info, "name") or run.folder.resolve().name
    blocks = block_table(run.records)
    all_regimes = regimes(cases)
    all_looks = looks(line_of(row) for row in cases.to_dict("records"))
    tables = verdict_tables(cases, verdicts, all_regimes)
    lines, grid = overview(tables, verdicts)
    figures = charts(cases, blocks, verdicts, predictions, all_regimes, all_looks)
    return {
        "name": name,
        "headline": headline(verdicts, info),
        "facts": _key_facts(info, blocks, cases, verdicts),
        "finished": info.get("finished") is not None,
        "shard": facts.shard(info),
        "blocks_seen": blocks["block"].nunique(),
        "blocks_planned": facts.table(info, "suite", "protocol").get("blocks"),
        "looks": all_looks,
        "filters": filters(all_looks, all_regimes),
        "tables": tables,
        "shared": shared(all_regimes),
        "overview_lines": lines,
        "overview": grid,
        "rule": verdicts[0] if verdicts else None,
        "bases": sorted({verdict.basis for verdict in verdicts}),
        "figures": {figure.key: figure for figure in figures},
        "why": why(cases, predictions, all_regimes),
        "timelines": timelines(traces, all_regimes, all_looks),
        "price": price(cases, run.records, all_regimes, time_column(cases)),
        "outlook": outlook(cases, predictions, all_regimes),
        "flags": issues.flag_counts(blocks),
        "recount": issues.recount(verdicts),
        "failures": issues.failures(blocks, all_regimes),
        "records": len(run.records),
        "warnings": run.warnings,
        "calibration": facts.calibration(info),
        "environment": facts.environment(info) + _ceilings(info) + _parts(info),
        "protocol": facts.claim(info),
        "grids": facts.grids(info),
        "method_link": _method_link(run.folder),
        "efficiency": facts.efficiency(info),
        "command": facts.command(info),
        "downloads": downloads(run.folder),
        "citation": citation(info, name, cases["device"].unique().tolist()),
        "csv": page.data_uri(case_csv(cases), "text/csv"),
    }


def _key_facts(
    info: dict[str, Any], blocks: pd.DataFrame, cases: pd.DataFrame, verdicts: Sequence[Verdict]
) -> facts.Facts:
    """Return what a reader wants to know first: where, when, how much, by which rule."""
    where = units.count(cases["group"].nunique(), "regime")
    suite = facts.table(info, "suite").get("name")
    found = [
        ("device", facts.hardware(cases["device"], info)),
        ("suite", str(suite or "")),
        ("measured", units.moment(facts.text(info, "started"))),
        ("commit", facts.commit(info)),
    ]
    if len(cases):
        found += [
            ("curves", f"{cases['curve_id'].nunique()} in {where}"),
            ("depths L", units.depth_list(cases["depth"].tolist())),
            ("blocks", str(blocks["block"].nunique())),
            ("timed calls", f"{blocks['samples'].sum():,}"),
        ]
    if verdicts:
        found.append(("margin", units.percent(verdicts[0].margin)))
    return [(name, value) for name, value in found if value]


def _method_link(folder: Path) -> str:
    """Where the page finds the method, if the run lies in a checkout; empty elsewhere."""
    return _METHOD if (folder / _METHOD).is_file() else ""


def _ceilings(info: dict[str, Any]) -> list[tuple[str, facts.Facts]]:
    found = facts.ceilings(info)
    return [("ceilings", found)] if found else []


def _parts(info: dict[str, Any]) -> list[tuple[str, facts.Facts]]:
    found = facts.parts(info)
    return [("parts", found)] if found else []
