"""What a run page draws from: the run, its verdicts, and the names of everything on the page."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.latency_model import Prediction
from paraformer_bench.analysis.medians import block_median
from paraformer_bench.analysis.roofline import cases_with_floors
from paraformer_bench.report.figures.style import Look, looks
from paraformer_bench.report.html import method
from paraformer_bench.report.page import Block, Cell, Fold
from paraformer_bench.report.traces import Traces
from paraformer_bench.study.case import Curve, Regime
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

_SEPARATOR = " · "


@dataclass(frozen=True, eq=False)
class Conditions:
    """A regime in words.

    Attributes:
        number: Among those of the page. Elements say with it what they are about: unlike names,
            numbers survive any reader of HTML as they are.
        short: What tells it from the others of the page; everything if it is the only one.
    """

    number: int
    words: Mapping[str, str]
    short: str

    @property
    def full(self) -> str:
        """All conditions."""
        return _SEPARATOR.join(self.words.values())

    def fold(self, body: Sequence[Block], tally: str, opened: bool, **attributes: object) -> Fold:
        """Return what unfolds to all about the regime."""
        given = {"class": "regime", "data-regime": self.number} | attributes
        return Fold(self.full, body, tally, given, opened)

    def but(self, name: str) -> str:
        """All conditions but one."""
        return _SEPARATOR.join(word for key, word in self.words.items() if key != name)


def in_words(regimes: Iterable[Regime]) -> dict[str, Conditions]:
    """Return every regime by the name of its group, in the order given."""
    words = {regime.group.name: regime.words for regime in regimes}
    names = dict.fromkeys(name for of_one in words.values() for name in of_one)
    varying = [name for name in names if len({one.get(name) for one in words.values()}) > 1]
    regimes_in_words = {}
    for number, (group, of_one) in enumerate(words.items()):
        short = [word for name, word in of_one.items() if name in (varying or names)]
        regimes_in_words[group] = Conditions(number, of_one, _SEPARATOR.join(short))
    return regimes_in_words


def shared(regimes: Mapping[str, Conditions]) -> str:
    """Return the conditions that all of several regimes share."""
    first, *others = [regime.words.items() for regime in regimes.values()]
    return _SEPARATOR.join(word for name, word in first if all((name, word) in o for o in others))


def rows_of(cases: pd.DataFrame, records: Iterable[Record]) -> list[Any]:
    """Return the rows of a case table as named tuples, with the `Curve` of each."""
    curves = {record.case.id: record.case.curve for record in records}
    with_curves = cases.assign(curve=cases["case_id"].map(curves))
    return list(with_curves.itertuples(index=False, name="CaseRow"))


@dataclass(frozen=True)
class ReportData:
    """A run, judged; ``predictions`` are those of the latency model, one a verdict."""

    run: Run
    verdicts: Sequence[Verdict]
    predictions: Sequence[Prediction] = ()
    traces: Traces = field(default_factory=Traces)

    @property
    def name(self) -> str:
        """Of the run; that of its folder where it has none."""
        return self.run.info.name or self.run.folder.resolve().name

    @cached_property
    def cases(self) -> pd.DataFrame:
        """`analysis.tables.case_table` with roofline times and the operations of timelines."""
        cases = cases_with_floors(self.run)
        counts = cases["case_id"].map(self.traces.counts())
        return cases.assign(traced_operations=counts.astype("float64"))

    @cached_property
    def rows(self) -> list[Any]:
        """The same, row by row."""
        return rows_of(self.cases, self.run.records)

    @cached_property
    def regimes(self) -> dict[str, Conditions]:
        """By group, in the order of the case table."""
        return in_words(row.curve.regime for row in self.rows)

    @cached_property
    def looks(self) -> dict[str, Look]:
        """Of every curve, by its label."""
        return looks(row.curve for row in self.rows)

    @cached_property
    def column(self) -> str:
        """The column of the case table that decides: device time where there is any."""
        return "device_time" if any(row.device_time > 0 for row in self.rows) else "wall"

    @property
    def basis(self) -> str:
        """The basis of verdicts that goes with the column."""
        return self.column.removesuffix("_time")

    @cached_property
    def several_bases(self) -> bool:
        """Whether there are verdicts on both times."""
        return len({verdict.basis for verdict in self.verdicts}) > 1

    @property
    def rule(self) -> Verdict | None:
        """Any verdict: all have the same margin and confidence."""
        return self.verdicts[0] if self.verdicts else None

    @property
    def blocks(self) -> int:
        """Blocks that left records."""
        return len({record.block for record in self.run.records})

    def of(self, curve: Curve) -> dict[str, object]:
        """Return the attributes of an element that is about a curve."""
        return {"data-line": self.looks[curve.label].number}

    def head(self, verdict: Verdict) -> Cell:
        """Return the head of a row about a curve; it names the basis where there are several."""
        basis = f"{verdict.basis} time" if self.several_bases else ""
        return Cell(method(verdict.curve), basis)

    def conditions(self, curve: Curve) -> Conditions:
        """Return the words for the regime of a curve."""
        return self.regimes[curve.regime.group.name]

    def block_times(self) -> dict[str, tuple[float, ...]]:
        """Return case id -> medians of its blocks on the deciding basis (s), ascending."""
        times = defaultdict(list)
        for record in self.run.records:
            if not math.isnan(seconds := block_median(record, self.basis)):
                times[record.case.id].append(seconds)
        return {case_id: tuple(sorted(seconds)) for case_id, seconds in times.items()}

    @property
    def filters(self) -> dict[str, str]:
        """What the page's script narrows it down by, as JSON: curves and regimes by their numbers.

        Elements say with ``data-line`` and ``data-regime`` what they are about.
        """
        axes = ("model", "execution", "runtime")
        methods = {row.curve.label: row.curve.method for row in self.rows}
        lines = [{axis: getattr(methods[label], axis) for axis in axes} for label in self.looks]
        places = [dict(regime.words) for regime in self.regimes.values()]
        return {"data-lines": json.dumps(lines), "data-regimes": json.dumps(places)}
