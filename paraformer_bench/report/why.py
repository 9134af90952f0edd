"""The latency model as people read it: why a curve breaks where it breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from paraformer_bench.analysis.latency_model import (
    BANDWIDTH,
    COMPUTE,
    JOIN,
    LAUNCH,
    TERMS,
    Model,
    Step,
)
from paraformer_bench.analysis.predictions import Prediction, unseen_error
from paraformer_bench.report import units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line, line_of

_WORDS = {
    LAUNCH: "getting operations under way",
    COMPUTE: "arithmetic",
    BANDWIDTH: "memory traffic",
    JOIN: "bringing the branches together",
}

_STEADY = 1.05
"""A term that grows by less than this is said not to grow."""


@dataclass(frozen=True)
class Cell:
    """One depth of a curve: predicted and measured time, the error, and what limits it."""

    predicted: str
    measured: str
    error: str
    limit: str
    fitted: bool


@dataclass(frozen=True)
class Row:
    """A curve on one basis.

    Attributes:
        line: Who.
        basis: ``device`` or ``wall``.
        sentence: Why it breaks where it breaks.
        up_to: Deepest constant depth: predicted, and measured.
        error: Median absolute error over the depths that the fit has not seen.
        cells: One a depth of the table; None where there is nothing.
    """

    line: Line
    basis: str
    sentence: str
    up_to: str
    error: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class WhyTable:
    """The rows of one regime and the depths that head its columns."""

    regime: Regime
    depths: list[int]
    rows: list[Row]


@dataclass(frozen=True)
class Why:
    """The section about the latency model.

    Attributes:
        tables: One a regime.
        summary: How well the model does over all curves; empty if it says nothing.
        missing: Why curves have no model, with how many.
    """

    tables: list[WhyTable]
    summary: str
    missing: list[str]


def why(
    cases: pd.DataFrame, predictions: Sequence[Prediction], regimes: Mapping[str, Regime]
) -> Why:
    """Return the section's contents, by regime in the order of the case table."""
    firsts = cases.drop_duplicates("curve_id").set_index("curve_id")
    lines = {str(curve): line_of(row.to_dict()) for curve, row in firsts.iterrows()}
    groups = {str(curve): str(group) for curve, group in firsts["group"].items()}
    by_group: dict[str, list[tuple[Prediction, Model]]] = {}
    missing: dict[str, int] = {}
    for prediction in predictions:
        if prediction.model is None:
            missing[prediction.reason] = missing.get(prediction.reason, 0) + 1
        else:
            group = groups[prediction.verdict.curve_id]
            by_group.setdefault(group, []).append((prediction, prediction.model))
    tables = []
    for group, held in by_group.items():
        depths = sorted({step.depth for _, model in held for step in model.steps})
        rows = [_row(lines[p.verdict.curve_id], p, model, depths) for p, model in held]
        rows.sort(key=lambda row: (row.line.model != "serial", row.line, row.basis))
        tables.append(WhyTable(regimes[group], depths, rows))
    reasons = [f"{units.count(number, 'curve')}: {reason}." for reason, number in missing.items()]
    return Why(tables, _summary(predictions), reasons)


def sentence(model: Model) -> str:
    """Say up to where a curve is predicted to be constant, why, and what follows beyond."""
    first, last = model.steps[0], model.steps[-1]
    at = next(step for step in model.steps if step.depth == model.constant_up_to)
    beyond = "beyond it each"
    if at is first and at is not last:
        head, beyond = "Predicted to grow from the shallowest depth on", "each"
    else:
        held = at.terms[first.limit]
        steady = " and does not grow" if held <= _STEADY * first.terms[first.limit] else ""
        head = (
            f"Predicted to be constant up to {at.depth}, because {_WORDS[first.limit]} takes "
            f"{units.percent(round(held / at.seconds, 2))} of the time there{steady}"
        )
    if at is last or model.seconds_a_branch is None:
        return f"{head}."
    gains = {term: last.terms[term] - at.terms[term] for term in TERMS}
    most = max(TERMS, key=lambda term: gains[term])
    grown = sum(gain for gain in gains.values() if gain > 0)
    share = gains[most] / grown if grown else 0.0
    return (
        f"{head}; {beyond} further block costs about {units.time(model.seconds_a_branch)}, "
        f"{units.percent(round(share, 2))} of it {_WORDS[most]}."
    )


def _row(line: Line, prediction: Prediction, model: Model, depths: Sequence[int]) -> Row:
    steps = {step.depth: step for step in model.steps}
    error = model.error
    return Row(
        line,
        prediction.verdict.basis,
        sentence(model),
        f"L = {model.constant_up_to}, measured {prediction.verdict.constant_up_to}",
        units.NONE if error is None else units.percent(round(error, 3)),
        [_cell(steps[depth]) if depth in steps else None for depth in depths],
    )


def _cell(step: Step) -> Cell:
    return Cell(
        units.time(step.seconds),
        units.NONE if step.measured is None else units.time(step.measured),
        "" if step.error is None else f"{step.error:+.1%}",
        step.limit,
        step.fitted,
    )


def _summary(predictions: Sequence[Prediction]) -> str:
    models = [(p, p.model) for p in predictions if p.model]
    error = unseen_error(predictions)
    if error is None:
        return ""
    unseen = sum(len(model.unseen) for _, model in models)
    near = sum(not model.misses(p.verdict.constant_up_to) for p, model in models)
    return (
        f"Over {units.count(unseen, 'time')} that it had not seen, the model is off by "
        f"{units.percent(round(error, 3))} in the median. The depth up to which a curve is "
        f"constant it puts within one tested depth of what was measured for {near} of "
        f"{units.count(len(models), 'curve')}."
    )
