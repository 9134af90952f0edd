"""A run folder to its page: read, judge, draw, write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.latency_model import predict
from paraformer_bench.report import facts, html, page
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.html import Facts
from paraformer_bench.report.sections import run_sections
from paraformer_bench.report.sections.files import write_parquet
from paraformer_bench.report.traces import read_traces
from paraformer_bench.study.run_folder import (
    PAGE,
    PREDICTIONS,
    TIMELINES,
    VERDICTS,
    as_json,
    read_run,
)
from paraformer_bench.study.words import count, depth_list, moment, percent


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
    data = ReportData(run, verdicts, predict(run, verdicts), read_traces(run))
    _write(folder / VERDICTS, data.verdicts)
    _write(folder / PREDICTIONS, data.predictions)
    if data.traces.traced:
        _write(folder / TIMELINES, data.traces.traced)
    write_parquet(folder, data.cases)
    return page.write(folder / PAGE, page.render(_page(data)))


def _write(path: Path, entries: Sequence[Any]) -> None:
    page.write(path, as_json([entry.flat() for entry in entries]).decode())


def _page(data: ReportData) -> page.Page:
    info, rule = data.run.info, data.rule
    said = facts.headline(data.verdicts, info)
    home = '<a href="../index.html">All runs</a> <span aria-hidden="true">/</span> {}'
    claim = html.rich("Verdict on the claim: <b>{}</b>.", said.answer)
    if rule:
        meaning = (
            " A curve counts as constant if, for every pair of its depths, time grows by less "
            "than {}, shown at {} confidence."
        )
        claim += html.rich(meaning, percent(rule.margin), percent(rule.confidence))
    banners = []
    if info.shard:
        words = (
            "<b>Shard {} of a run.</b> <code>merge</code> joins it with the others; what follows "
            "is drawn from this part alone."
        )
        banners.append(html.rich(words, info.shard))
    if info.finished is None:
        planned = facts.table(info.suite, "protocol").get("blocks")
        words = (
            "<b>Incomplete run.</b> It was interrupted or is still going: {} left records so far. "
            "What follows is drawn from those."
        )
        of = f" of {planned}" if planned else ""
        banners.append(html.rich(words, count(data.blocks, "block") + of))
    return page.Page(
        title=data.name,
        place=html.rich(home, html.prose(data.name, 120)),
        question=said.question,
        heading=said.title,
        tone=said.answer,
        symbol=said.symbol,
        claims=[claim],
        leads=[html.prose(sentence, 900) for sentence in said.sentences],
        banners=banners,
        facts=_key_facts(data),
        sections=run_sections(data),
        filters=data.filters if data.rows else {},
    )


def _key_facts(data: ReportData) -> Facts:
    """Return what a reader wants to know first: where, when, how much, by which rule."""
    info, rows = data.run.info, data.rows
    told = {
        "device": facts.hardware((row.device for row in rows), info),
        "suite": facts.suite_name(info),
        "measured": moment(info.started or ""),
        "commit": facts.commit(info),
    }
    if rows:
        curves = len({row.curve_id for row in rows})
        calls = sum(len(r.wall_seconds) for r in data.run.records if r.status == "ok")
        told["curves"] = f"{curves} in {count(len(data.regimes), 'regime')}"
        told["depths L"] = depth_list(row.depth for row in rows)
        told["blocks"] = str(data.blocks)
        told["timed calls"] = f"{calls:,}"
    if data.rule:
        told["margin"] = percent(data.rule.margin)
    return [(name, value) for name, value in told.items() if value]
