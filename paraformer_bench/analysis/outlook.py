"""What the latency model says of depths and batches that nobody measured.

What a call asks of the device (`Demand`) is counted for measured cases alone. Between two of them,
and beyond the last two, each term of it is taken to lie on a straight line: in depth, because
every further block asks for the same again, and in the batch, because every further image does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log

from msgspec import structs

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.latency_model import (
    Demand,
    Model,
    Prediction,
    Scales,
    seconds_of,
    typical,
)
from paraformer_bench.study.case import Curve

DEEPEST = 4096
"""No curve is followed deeper."""
FURTHEST = 4
"""Batches are predicted to so many times the largest one measured."""

_FEWEST = 2
"""Depths without which nothing is known of how a curve goes on."""
_TERMS = ("host", "floors", "compute", "bandwidth", "join", "sync")


@dataclass(frozen=True)
class AtBatch:
    """A curve at one batch, from the ``shallowest`` depth that is known of there.

    Attributes:
        up_to: Deepest depth to which it is predicted to be constant.
        beyond: Whether it is still constant there because no curve is followed deeper.
        measured: Deepest depth to which it was measured to be constant; null if this batch was
            not measured.
        deepest: Deepest depth measured at this batch; null likewise.
    """

    batch: int
    shallowest: int
    up_to: int
    beyond: bool
    measured: int | None = None
    deepest: int | None = None


@dataclass(frozen=True)
class Outlook:
    """One method on one basis under conditions that differ in the batch alone.

    Attributes:
        trusted: Whether the model ends constancy within one tested depth of where it was measured
            to end, at every measured batch. What misses the known says nothing of the unknown.
        verdict: Of its smallest measured batch.
        batches: By ascending batch; between and beyond the measured ones those of which at least
            two depths are known from two batches. Only the measured one where there is but one.
        errors: Predicted over measured time, less 1, of every case of an inner batch, predicted
            from the batches on both sides of it alone.
    """

    verdict: Verdict
    trusted: bool
    batches: tuple[AtBatch, ...]
    errors: tuple[float, ...]


def outlooks(predictions: Sequence[Prediction]) -> list[Outlook]:
    """Return what is to be expected of every curve that has a model, in the order given."""
    families: dict[tuple[str, Curve], dict[int, tuple[Verdict, Model]]] = {}
    for prediction in predictions:
        model, verdict = prediction.model, prediction.verdict
        if model is not None and model.demands:
            method, regime = verdict.curve.method, verdict.curve.regime
            # Everything that names a curve but its batch.
            family = verdict.basis, Curve(method, structs.replace(regime, batch=1))
            families.setdefault(family, {})[regime.batch] = verdict, model
    return [_outlook(dict(sorted(family.items()))) for family in families.values()]


def typical_error(expected: Sequence[Outlook]) -> float | None:
    """Median absolute error over all predictions from other batches; null if there are none."""
    return typical(error for outlook in expected for error in outlook.errors)


def between(demands: Mapping[int, Demand], at: int) -> Demand:
    """Return what is asked for at ``at``, each term on a straight line through two neighbours.

    ``demands`` are by depth or by batch, at least two unless ``at`` is among them. Where the line
    falls below 0 a term is 0.
    """
    if at in demands:
        return demands[at]
    low, high = _neighbours(demands, at)
    share = (at - low) / (high - low)
    first, last = demands[low], demands[high]
    terms = {
        name: max((1 - share) * getattr(first, name) + share * getattr(last, name), 0.0)
        for name in _TERMS
    }
    return replace(first, **terms)


def reach(
    demands: Mapping[int, Demand], scales: Scales, margin: float, besides: float = 0.0
) -> tuple[int, bool]:
    """Return the deepest depth to which a curve is predicted to be constant.

    Looked at are the depths of ``demands`` and, beyond them, twice the last one again and again
    up to `DEEPEST`. Where one fails, the last depth before it is found to a block. A call takes
    ``besides`` seconds on top, at every depth.

    Returns:
        The depth, and whether it is still constant where it was given up.
    """

    def seconds(depth: int) -> float:
        return seconds_of(between(demands, depth), scales)

    depths = sorted(demands)
    while 2 * depths[-1] <= DEEPEST:
        depths.append(2 * depths[-1])
    least = seconds(depths[0])
    for before, depth in pairwise(depths):
        most = (1 + margin) * least + margin * besides
        if seconds(depth) >= most:
            # Terms are straight between the two, so that the time crosses the line once.
            return before + bisect_left(range(before + 1, depth), most, key=seconds), False
        least = min(least, seconds(depth))
    return depths[-1], len(depths) > 1


def scales_at(scales: Mapping[int, Scales], batch: int) -> Scales:
    """Return how far things are from the ceilings at a batch.

    On a straight line of logarithms between two that are known; beyond the last those of it.
    """
    low, high = _neighbours(scales, batch)
    share = min(max(log(batch / low) / log(high / low), 0.0), 1.0)
    first, last = scales[low], scales[high]
    return Scales(
        launch=exp((1 - share) * log(first.launch) + share * log(last.launch)),
        work=exp((1 - share) * log(first.work) + share * log(last.work)),
    )


def _neighbours(places: Iterable[int], at: int) -> tuple[int, int]:
    """The places on both sides; beyond the ends the two that are next."""
    ordered = sorted(places)
    right = min(max(bisect_left(ordered, at), 1), len(ordered) - 1)
    return ordered[right - 1], ordered[right]


def _outlook(family: Mapping[int, tuple[Verdict, Model]]) -> Outlook:
    models = {batch: model for batch, (_, model) in family.items()}
    smallest, largest = min(models), max(models)
    verdict = family[smallest][0]
    batches = set(models)
    if len(models) > 1:
        powers = (2**k for k in range((FURTHEST * largest).bit_length()))
        batches |= {power for power in powers if power >= smallest}
    rows = []
    for batch in sorted(batches):
        demands, scales = _at_batch(models, batch)
        if len(demands) < _FEWEST:
            continue
        row = AtBatch(batch, min(demands), *reach(demands, scales, verdict.margin))
        if batch in family:
            there, _ = family[batch]
            row = replace(row, measured=there.constant_up_to, deepest=there.depths[-1])
        rows.append(row)
    errors = []
    for batch in sorted(models)[1:-1]:
        others = {other: model for other, model in models.items() if other != batch}
        demands, scales = _at_batch(others, batch)
        if len(demands) < _FEWEST:
            continue
        errors += [
            seconds_of(between(demands, step.depth), scales) / step.measured - 1
            for step in models[batch].steps
            if step.measured
        ]
    trusted = not any(model.misses(there.constant_up_to) for there, model in family.values())
    return Outlook(verdict, trusted, tuple(rows), tuple(errors))


def _at_batch(models: Mapping[int, Model], batch: int) -> tuple[Mapping[int, Demand], Scales]:
    """Demands by depth at a batch, and how far things are from the ceilings there."""
    if batch in models:
        return models[batch].demands, models[batch].scales
    demands = {}
    for depth in {depth for model in models.values() for depth in model.demands}:
        counted = {
            b: model.demands[depth] for b, model in models.items() if depth in model.demands
        }
        if len(counted) > 1:
            demands[depth] = between(counted, batch)
    return demands, scales_at({b: model.scales for b, model in models.items()}, batch)
