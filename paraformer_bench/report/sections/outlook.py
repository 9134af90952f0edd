"""What would change it: the latency model at depths and batches that nobody measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from math import log2

from paraformer_bench.analysis.outlook import DEEPEST, Outlook, outlooks, typical_error
from paraformer_bench.report import html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.page import Block, Cell, Column, Section, Table
from paraformer_bench.study.words import count, percent

ORDER = 80

_ABOUT = (
    "The latency model carried on to depths and batches that were not measured: what a call asks "
    "of the device is taken to lie on straight lines, in depth and in the batch."
)


def sections(data: ReportData) -> list[Section]:
    """Return the section, none where nothing is predicted of another batch or depth."""
    found = outlooks(data.predictions)
    if not found:
        return []
    trusted = [one for one in found if one.trusted]
    shown = [one for one in trusted if any(at.up_to != at.shallowest for at in one.batches)]
    words = [_ABOUT, *_error(found)]
    if flat := len(trusted) - len(shown):
        largest = max((one.batches[-1].batch for one in found if len(one.batches) > 1), default=0)
        where = f"batch up to {largest}" if largest else "batch that was measured"
        curves = html.be(flat, "curve")
        words.append(f"{curves} predicted to grow from the shallowest depth on at every {where}.")
    if missed := len(found) - len(trusted):
        words.append(
            f"{html.be(missed, 'curve')} left out: the model misses by more than one tested depth "
            f"where constancy was measured to end."
        )
    tables: dict[str, list[Outlook]] = {}
    for one in shown:
        conditions = data.conditions(one.verdict.curve).but("batch")
        tables.setdefault(conditions, []).append(one)
    body: list[Block] = [html.text(" ".join(words))]
    body += [_table(data, conditions, rows) for conditions, rows in tables.items()]
    return [Section("outlook", "What would change it", body, "What would change it")]


def _table(data: ReportData, conditions: str, rows: list[Outlook]) -> Block:
    """Show the methods under conditions that differ in the batch alone."""
    regimes = [one.number for one in data.regimes.values() if one.but("batch") == conditions]
    batches = sorted({at.batch for row in rows for at in row.batches})
    columns = [Column[Outlook]("method", lambda row: data.head(row.verdict))]
    columns += [Column(str(batch), partial(_at, batch=batch)) for batch in batches]
    words = "<bdi>{}</bdi>: depth up to which time is predicted to be constant, at batch"
    return Table(
        columns,
        sorted(rows, key=lambda row: (row.verdict.curve.sort_key, row.verdict.basis)),
        look="values outlook",
        label=f"Predictions, {conditions}",
        caption=html.rich(words, conditions),
        region={"data-any-regime": json.dumps(regimes)},
        attributes=lambda row: data.of(row.verdict.curve),
    )


def _at(row: Outlook, batch: int) -> Cell | str:
    """A depth; its shade goes from 0 (depth 1) to 1 (as deep as any curve is followed)."""
    at = next((one for one in row.batches if one.batch == batch), None)
    if at is None:
        return ""
    shade = {"style": f"--shade:{log2(at.up_to) / log2(DEEPEST):.2f}"}
    measured = "" if at.measured is None else f"measured {at.measured} of {at.deepest}"
    return Cell(f"over {at.up_to}" if at.beyond else str(at.up_to), measured, attributes=shade)


def _error(found: Sequence[Outlook]) -> list[str]:
    """Say how far off predictions are where that is known."""
    error = typical_error(found)
    if error is None:
        return []
    cases = sum(len(one.errors) for one in found)
    return [
        f"{count(cases, 'time')} measured at a batch between two others "
        f"{'was' if cases == 1 else 'were'} predicted from those alone: off by "
        f"{percent(round(error, 3))} in the median."
    ]
