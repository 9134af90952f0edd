"""What the latency model says of depths and batches that nobody measured.

What a call asks of the device (`Demand`) is counted for measured cases alone. Between two of them,
and beyond the last two, each term of it is taken to lie on a straight line: in depth, because
every further block asks for the same again, and in the batch, because every further image does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log
from statistics import median

from msgspec import structs

from paraformer_bench.analysis.latency_model import Demand, Model, Scales, terms_of
from paraformer_bench.analysis.predictions import Prediction
from paraformer_bench.analysis.verdict import Verdict
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
    """A curve at one batch.

    Attributes:
        batch: Images in a call.
        shallowest: The least deep net that is known of there.
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
    families: dict[tuple[object, ...], dict[int, Prediction]] = {}
    for prediction in predictions:
        if prediction.model is not None and prediction.model.demands:
            verdict = prediction.verdict
            families.setdefault(_family(verdict), {})[verdict.curve.regime.batch] = prediction
    return [_outlook(dict(sorted(held.items()))) for held in families.values()]


def typical_error(found: Sequence[Outlook]) -> float | None:
    """Median absolute error over all predictions from other batches; null if there are none."""
    errors = [abs(error) for outlook in found for error in outlook.errors]
    return median(errors) if errors else None


def between(known: Mapping[int, Demand], at: int) -> Demand:
    """Return what is asked for at ``at``, each term on a straight line through two neighbours.

    Args:
        known: By depth or by batch, at least two unless ``at`` is among them.
        at: Between them or beyond; below the first two a term is never less than 0.
    """
    if at in known:
        return known[at]
    places = sorted(known)
    right = min(max(bisect_left(places, at), 1), len(places) - 1)
    low, high = places[right - 1], places[right]
    share = (at - low) / (high - low)
    first, last = known[low], known[high]
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
    up to `DEEPEST`. Where one fails, the last depth before it is found to a block.

    Args:
        demands: By depth.
        scales: How far things are from the ceilings.
        margin: Growth that still counts as constant.
        besides: Seconds that a call takes on top, at every depth.

    Returns:
        The depth, and whether it is still constant where it was given up.
    """
    depths = sorted(demands)
    while 2 * depths[-1] <= DEEPEST:
        depths.append(2 * depths[-1])
    least = seconds_of(between(demands, depths[0]), scales)
    for before, depth in pairwise(depths):
        seconds = seconds_of(between(demands, depth), scales)
        most = (1 + margin) * least + margin * besides
        if seconds >= most:
            return _last_below(demands, scales, most, before, depth), False
        least = min(least, seconds)
    return depths[-1], len(depths) > 1


def _last_below(
    demands: Mapping[int, Demand], scales: Scales, most: float, low: int, high: int
) -> int:
    """Halve the way between a depth that stays below a time and one that does not."""
    while high - low > 1:
        middle = (low + high) // 2
        if seconds_of(between(demands, middle), scales) < most:
            low = middle
        else:
            high = middle
    return low


def _outlook(held: Mapping[int, Prediction]) -> Outlook:
    models = {batch: p.model for batch, p in held.items() if p.model is not None}
    smallest = held[min(held)].verdict
    batches = sorted({*models, *_powers(models)}) if len(models) > 1 else sorted(models)
    rows = []
    for batch in batches:
        seen = held.get(batch)
        demands, scales = _at_batch(models, batch)
        if len(demands) < _FEWEST:
            continue
        up_to, beyond = reach(demands, scales, smallest.margin)
        measured = (seen.verdict.constant_up_to, seen.verdict.depths[-1]) if seen else (None, None)
        rows.append(AtBatch(batch, min(demands), up_to, beyond, *measured))
    errors: list[float] = []
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
    missed = (models[batch].misses(p.verdict.constant_up_to) for batch, p in held.items())
    return Outlook(smallest, not any(missed), tuple(rows), tuple(errors))


def _at_batch(models: Mapping[int, Model], batch: int) -> tuple[dict[int, Demand], Scales]:
    """Demands by depth at a batch, and how far things are from the ceilings there."""
    if batch in models:
        return dict(models[batch].demands), models[batch].scales
    depths = {depth for model in models.values() for depth in model.demands}
    demands = {}
    for depth in depths:
        known = {b: model.demands[depth] for b, model in models.items() if depth in model.demands}
        if len(known) > 1:
            demands[depth] = between(known, batch)
    return demands, scales_at({b: model.scales for b, model in models.items()}, batch)


def scales_at(known: Mapping[int, Scales], batch: int) -> Scales:
    """Return how far things are from the ceilings at a batch.

    On a straight line of logarithms between two that are known; beyond the last those of it.
    """
    places = sorted(known)
    right = min(max(bisect_left(places, batch), 1), len(places) - 1)
    low, high = places[right - 1], places[right]
    share = min(max(log(batch / low) / log(high / low), 0.0), 1.0)
    first, last = known[low], known[high]
    return Scales(
        launch=exp((1 - share) * log(first.launch) + share * log(last.launch)),
        work=exp((1 - share) * log(first.work) + share * log(last.work)),
    )


def _powers(measured: Mapping[int, object]) -> list[int]:
    """Powers of two from the smallest batch to `FURTHEST` times the largest."""
    first, last = min(measured), FURTHEST * max(measured)
    return [2**k for k in range(last.bit_length()) if first <= 2**k <= last]


def seconds_of(demand: Demand, scales: Scales) -> float:
    """Return the predicted time of one call."""
    return sum(terms_of(demand, scales).values())


def _family(verdict: Verdict) -> tuple[str, Curve]:
    """Everything that names a curve but its batch."""
    curve = verdict.curve
    return verdict.basis, Curve(curve.method, structs.replace(curve.regime, batch=1))
