"""What would change the answer: other depths, other batches, a faster device."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import pandas as pd

from paraformer_bench.analysis.outlook import DEEPEST, AtBatch, Outlook, outlooks, typical_error
from paraformer_bench.analysis.predictions import Prediction
from paraformer_bench.report import units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line, line_of


@dataclass(frozen=True)
class Cell:
    """A depth up to which a curve is constant.

    Attributes:
        predicted: As text.
        measured: As text; empty where this batch was not measured.
        shade: From 0 (depth 1) to 1 (as deep as any curve is followed), on a logarithmic scale.
    """

    predicted: str
    measured: str
    shade: float


@dataclass(frozen=True)
class Row:
    """One method: a cell a batch, None where nothing is predicted, and one for a faster device."""

    line: Line
    basis: str
    cells: list[Cell | None]
    faster: Cell


@dataclass(frozen=True)
class OutlookTable:
    """The methods under conditions that differ in the batch alone.

    Attributes:
        conditions: Words for them.
        numbers: Of their regimes, one a batch, as a JSON list for the page's script.
        batches: Heads of the columns.
        rows: One a method.
    """

    conditions: str
    numbers: str
    batches: list[int]
    rows: list[Row]


@dataclass(frozen=True)
class OutlookView:
    """The section.

    Attributes:
        tables: One for all conditions but the batch.
        flat: How many curves grow from their shallowest depth on, at every batch and on the
            faster device too. As text, empty where there are none.
        missed: How many have a model that misses what was measured. Likewise; neither have rows.
        largest: Largest batch that was predicted; 0 if none but measured ones are told of.
        error: How well batches are predicted from others; empty where that was not seen.
    """

    tables: list[OutlookTable]
    flat: str
    missed: str
    largest: int
    error: str


def outlook(
    cases: pd.DataFrame, predictions: Sequence[Prediction], regimes: Mapping[str, Regime]
) -> OutlookView:
    """Return the section's contents."""
    numbers: dict[str, list[int]] = {}
    for regime in regimes.values():
        numbers.setdefault(_conditions(regime.fields), []).append(regime.number)
    firsts = cases.drop_duplicates("curve_id").set_index("curve_id")
    found = outlooks(predictions)
    held: dict[str, list[tuple[Outlook, dict[Any, Any]]]] = {}
    for one in found:
        if one.trusted and not _grows_at_once(one):
            case = firsts.loc[one.verdict.curve_id].to_dict()
            conditions = _conditions(regimes[str(case["group"])].fields)
            held.setdefault(conditions, []).append((one, case))
    tables = []
    for conditions, members in held.items():
        batches = sorted({at.batch for one, _ in members for at in one.batches})
        rows = [_row(one, line_of(case), batches) for one, case in members]
        rows.sort(key=lambda row: (row.line.model != "serial", row.line, row.basis))
        tables.append(OutlookTable(conditions, json.dumps(numbers[conditions]), batches, rows))
    trusted = [one for one in found if one.trusted]
    flat = _curves(sum(map(_grows_at_once, trusted)))
    missed = _curves(len(found) - len(trusted))
    largest = max((one.batches[-1].batch for one in found if len(one.batches) > 1), default=0)
    return OutlookView(tables, flat, missed, largest, _error(found))


def _curves(number: int) -> str:
    return units.count(number, "curve") if number else ""


def _conditions(fields: Mapping[str, str]) -> str:
    return " · ".join(word for name, word in fields.items() if name != "batch")


def _grows_at_once(one: Outlook) -> bool:
    smallest = one.batches[0]
    return one.faster[0] == smallest.shallowest and all(
        at.up_to == at.shallowest for at in one.batches
    )


def _row(one: Outlook, line: Line, batches: Sequence[int]) -> Row:
    at_batch = {at.batch: at for at in one.batches}
    cells = [_at(at_batch[batch]) if batch in at_batch else None for batch in batches]
    return Row(line, one.verdict.basis, cells, _cell(*one.faster))


def _at(at: AtBatch) -> Cell:
    measured = "" if at.measured is None else f"measured {at.measured} of {at.deepest}"
    return _cell(at.up_to, at.beyond, measured)


def _cell(up_to: int, beyond: bool, measured: str = "") -> Cell:
    return Cell(f"over {up_to}" if beyond else str(up_to), measured, log2(up_to) / log2(DEEPEST))


def _error(found: Sequence[Outlook]) -> str:
    error = typical_error(found)
    if error is None:
        return ""
    cases = sum(len(one.errors) for one in found)
    return (
        f"{units.count(cases, 'time')} measured at a batch between two others "
        f"{'was' if cases == 1 else 'were'} predicted from those alone: off by "
        f"{units.percent(round(error, 3))} in the median."
    )
