"""Why it breaks there: the latency model as people read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from paraformer_bench.analysis.latency_model import (
    BANDWIDTH,
    COMPUTE,
    DEEPEST_FITTED,
    JOIN,
    LAUNCH,
    TERMS,
    Model,
    Prediction,
    unseen_error,
)
from paraformer_bench.report import html
from paraformer_bench.report.data import Conditions, ReportData
from paraformer_bench.report.figures import series
from paraformer_bench.report.figures.chart import Axis, chart
from paraformer_bench.report.page import Block, Cell, Column, Section, Table
from paraformer_bench.study.words import NONE, count, percent, time

ORDER = 40

_WORDS = {
    LAUNCH: "getting operations under way",
    COMPUTE: "arithmetic",
    BANDWIDTH: "memory traffic",
    JOIN: "bringing the branches together",
}

_STEADY = 1.05
"""A term that grows by less than this is said not to grow."""

_MODEL = (
    "Points are measured, lines are the latency model. It was fitted to depths up to "
    f"{DEEPEST_FITTED} alone, left of the dotted upright line; to the right of it the line was "
    "drawn without having seen the points."
)
_OF_LIMIT = (
    "The least time that the operations of the net can take, at the device's measured ceilings, "
    "as a percentage of the time they took: each operation for itself at the rate of the fastest "
    "product or of a copy, with nothing launched, overlapped or fused. 100% is the roofline."
)
_ABOUT = (
    "A model of the time of one call, from what the device can do at best and what the net asks "
    "of it: launches on one side, on the other the sum over operations of the longer of "
    "arithmetic and memory traffic. Two numbers a curve, how far its launches and its work are "
    "from the ceilings, are fitted to the shallow depths alone. "
)
_CAPTION = (
    "Predicted time, its difference from the measured one, and what limits it, at depth L. In "
    "grey: the fit has seen it."
)

Fitted = tuple[Prediction, Model]


def sections(data: ReportData) -> list[Section]:
    """Return the section, none where there is neither a model nor a floor nor a reason."""
    fitted: dict[Conditions, list[Fitted]] = {}
    reasons: Counter[str] = Counter()
    for one in data.predictions:
        if one.model:
            regime = data.conditions(one.verdict.curve)
            fitted.setdefault(regime, []).append((one, one.model))
        else:
            reasons[one.reason] += 1
    body: list[Block] = [html.text(_ABOUT + _summary(data.predictions))] if fitted else []
    names = data.looks, data.regimes
    on_basis = [one for one in data.predictions if one.verdict.basis == data.basis]
    panels = series.modelled(data.rows, data.column, on_basis)
    axis = Axis("time per call (ms)", "ms", {}, upright=DEEPEST_FITTED)
    model = chart("model", "Prediction and measurement", _MODEL, panels, axis, *names)
    panels = series.of_limit(data.rows, data.column)
    axis = Axis("of the roofline (%)", "%", {})
    limit = chart("limit", "Percentage of the limit", _OF_LIMIT, panels, axis, *names)
    body += [figure for figure in (model, limit) if figure]
    body += [_table(data, regime, rows, len(fitted) <= 4) for regime, rows in fitted.items()]
    for reason, number in reasons.items():
        told = html.prose(f"{count(number, 'curve')}: {reason}.")
        body.append(html.text(html.rich("No model for {}", told)))
    return [Section("why", "Why it breaks there", body, "Why" if fitted else "")] if body else []


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
            f"{percent(round(held / at.seconds, 2))} of the time there{steady}"
        )
    if at is last or model.seconds_a_branch is None:
        return f"{head}."
    gains = {term: last.terms[term] - at.terms[term] for term in TERMS}
    most = max(TERMS, key=lambda term: gains[term])
    grown = sum(gain for gain in gains.values() if gain > 0)
    share = gains[most] / grown if grown else 0.0
    return (
        f"{head}; {beyond} further block costs about {time(model.seconds_a_branch)}, "
        f"{percent(round(share, 2))} of it {_WORDS[most]}."
    )


def _table(data: ReportData, regime: Conditions, fitted: list[Fitted], opened: bool) -> Block:
    def at(row: Fitted, depth: int) -> Cell | str:
        step = next((step for step in row[1].steps if step.depth == depth), None)
        if step is None:
            return ""
        measured = NONE if step.measured is None else time(step.measured)
        error = "" if step.error is None else f"{step.error:+.1%}"
        words = '{} <small title="measured {}">{} {}</small>'
        told = html.rich(words, time(step.seconds), measured, error, step.limit)
        return Cell(told, attributes={"class": "fitted" if step.fitted else None})

    def up_to(row: Fitted) -> str:
        return f"L = {row[1].constant_up_to}, measured {row[0].verdict.constant_up_to}"

    def error(row: Fitted) -> str:
        return NONE if row[1].error is None else percent(round(row[1].error, 3))

    depths = sorted({step.depth for _, model in fitted for step in model.steps})
    columns: list[Column[Fitted]] = [
        Column("method", lambda row: data.head(row[0].verdict)),
        Column("constant up to", up_to),
        Column("error, unseen", error),
        *(Column(str(depth), partial(at, depth=depth)) for depth in depths),
    ]
    table = Table(
        columns,
        sorted(fitted, key=lambda row: (row[0].verdict.curve.sort_key, row[0].verdict.basis)),
        look="values why",
        label=f"Predicted and measured times, {regime.full}",
        caption=_CAPTION,
        attributes=lambda row: data.of(row[0].verdict.curve),
        notes=lambda row: [sentence(row[1])],
    )
    return regime.fold([table], count(len(fitted), "curve"), opened)


def _summary(predictions: Sequence[Prediction]) -> str:
    error = unseen_error(predictions)
    if error is None:
        return ""
    models = [(one.model, one.verdict.constant_up_to) for one in predictions if one.model]
    unseen = sum(len(model.unseen) for model, _ in models)
    near = sum(not model.misses(measured) for model, measured in models)
    return (
        f"Over {count(unseen, 'time')} that it had not seen, the model is off by "
        f"{percent(round(error, 3))} in the median. The depth up to which a curve is "
        f"constant it puts within one tested depth of what was measured for {near} of "
        f"{count(len(models), 'curve')}."
    )
