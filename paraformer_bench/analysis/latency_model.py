"""A curve predicted from its shallow end and the device's ceilings: where it breaks, and why.

The time of one call at depth L is

    t(L) = a n(L) + b w(L) + s,           or  max(a n(L), b w(L)) + s  where launches overlap,

with n the time of all launches (and of operations at the floor), w the sum over the other
operations of the longer of arithmetic and memory traffic, joins included (`Demand`), s that of
waiting for the device. The ceilings say what n, w and s are on this device; a and b say how far
this kind of net is from them. They are fitted to the depths up to `DEEPEST_FITTED` alone, each
with a prior around 1, so that a term that does not show there is taken at its ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from statistics import fmean, median

import numpy as np
from scipy import optimize

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.intervals import Array
from paraformer_bench.analysis.medians import grouped, log_median
from paraformer_bench.analysis.roofline import Roofline, Work, limits_of, work_of
from paraformer_bench.study.case import Case, Fields
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

LAUNCH, COMPUTE, BANDWIDTH, JOIN = TERMS = ("launch", "compute", "bandwidth", "join")
"""What can take the time of a call: getting operations under way; arithmetic; memory traffic;
bringing branches together again."""

DEEPEST_FITTED = 4
"""Deeper measurements are not shown to the fit: they are what it is held against."""

_NOISE = 0.02
_PRIOR = 0.5
"""Spread of a measured log time, and of the logarithm of a and b before anything is measured."""

_JOINS = ("sum", "stack")


@dataclass(frozen=True)
class Demand:
    """Seconds that one call takes at the ceilings, by what takes them.

    Attributes:
        host: Launching everything; ``overlapped`` says whether the device works meanwhile.
        floors: Device time of operations too small to take longer than any operation takes;
            0 on a CPU, where launching is all that a small operation costs.
        compute: Operations that arithmetic limits.
        bandwidth: Operations that memory traffic limits.
        join: Sums and stacks, whatever limits them.
        sync: Waiting for the device.
    """

    host: float
    floors: float
    compute: float
    bandwidth: float
    join: float
    sync: float
    overlapped: bool


def demand(case: Case, basis: str, work: Work, parameter_bytes: float, limits: Roofline) -> Demand:
    """Return what one call of a case asks for; ``limits`` are those of its precision.

    Every operation takes the longest of three times on the device: the floor that any operation
    takes (a node of a CUDA graph), its arithmetic, its memory traffic. A weight is used once a
    call, so products draw on memory that the whole of the parameters covers. Under ``streams``
    the operations of all branches go side by side, as one operation of all their work.
    """
    ceilings = limits.ceilings
    on_cpu, graph = case.device == "cpu", case.runtime == "graph"
    branches = case.spec.branches if case.execution == "streams" else 1
    side_by_side = np.clip(work.times // branches, 1, None)
    together = np.where(work.times >= branches, work.times / side_by_side, 1.0)
    turns = work.times / together
    flops, size = together * work.flops, together * work.bytes
    footprint = np.where(flops > 0, np.maximum(size, parameter_bytes), size)
    compute, transfer = limits.compute(flops), limits.transfer(size, footprint)
    longest = np.maximum(compute, transfer)
    floor = 0.0 if on_cpu else ceilings.node_seconds or 0.0
    small = longest < floor
    joins = ~small & np.isin(work.names, _JOINS)
    others = ~small & ~joins
    launches = 1.0 if graph else float(work.times.sum())
    waits = basis == "wall" and not on_cpu
    return Demand(
        host=0.0 if basis == "device" else launches * ceilings.launch_seconds,
        floors=float(turns[small].sum() * floor),
        compute=float((turns * compute)[others & (compute >= transfer)].sum()),
        bandwidth=float((turns * transfer)[others & (compute < transfer)].sum()),
        join=float((turns * longest)[joins].sum()),
        sync=ceilings.sync_seconds if waits else 0.0,
        overlapped=waits and not graph,
    )


@dataclass(frozen=True)
class Scales:
    """How much longer than at the ceilings things take: ``launch`` is a, ``work`` is b."""

    launch: float = 1.0
    work: float = 1.0


@dataclass(frozen=True)
class Step:
    """The model at one depth: predicted ``seconds`` of one call, and what they consist of.

    ``measured`` is the geometric mean of the block medians (s), null where the depth has no time;
    ``fitted`` says whether the fit has seen it.
    """

    depth: int
    seconds: float
    measured: float | None
    fitted: bool
    terms: dict[str, float]

    @property
    def limit(self) -> str:
        """The term that takes most of the time."""
        return max(TERMS, key=lambda term: self.terms[term])

    @property
    def error(self) -> float | None:
        """Predicted over measured time, less 1; null without a measurement."""
        return None if self.measured is None else self.seconds / self.measured - 1


@dataclass(frozen=True)
class Model:
    """A fitted curve: steps by ascending depth, and the demands at each that they are made from.

    No pair of predicted times up to the depth ``constant_up_to`` grows by the margin.
    """

    scales: Scales
    steps: tuple[Step, ...]
    constant_up_to: int
    demands: Mapping[int, Demand] = field(default_factory=dict)

    @property
    def unseen(self) -> tuple[Step, ...]:
        """Measured steps that the fit has not seen."""
        return tuple(s for s in self.steps if not s.fitted and s.measured is not None)

    @property
    def error(self) -> float | None:
        """Median absolute error over the unseen depths; null if there are none."""
        return typical(step.error for step in self.unseen)

    @property
    def seconds_a_branch(self) -> float | None:
        """Predicted cost of each further block between the two deepest depths."""
        if len(self.steps) < 2:
            return None
        before, last = self.steps[-2:]
        return (last.seconds - before.seconds) / (last.depth - before.depth)

    def misses(self, measured: int) -> bool:
        """Whether constancy ends more than one tested depth from where it was measured to."""
        low, high = sorted((self.constant_up_to, measured))
        return sum(low < step.depth <= high for step in self.steps) > 1


@dataclass(frozen=True)
class Prediction:
    """What the latency model says of one curve on one basis: an entry of ``predictions.json``.

    ``model`` is null where it cannot be fitted, and ``reason`` says why.
    """

    verdict: Verdict
    model: Model | None
    reason: str = ""

    def flat(self) -> Fields:
        """Return the entry: seconds, and errors as shares of what was measured."""
        entry: Fields = {
            "curve_id": self.verdict.curve_id,
            "basis": self.verdict.basis,
            "reason": self.reason or None,
        }
        if self.model is None:
            return entry
        steps = [
            {
                "depth": step.depth,
                "fitted": step.fitted,
                "predicted_seconds": step.seconds,
                "measured_seconds": step.measured,
                "error": step.error,
                "terms_seconds": step.terms,
                "limit": step.limit,
            }
            for step in self.model.steps
        ]
        return entry | {
            "scales": asdict(self.model.scales),
            "constant_up_to": self.model.constant_up_to,
            "measured_constant_up_to": self.verdict.constant_up_to,
            "unseen_error": self.model.error,
            "seconds_a_branch": self.model.seconds_a_branch,
            "steps": steps,
        }


def predict(run: Run, verdicts: Sequence[Verdict]) -> list[Prediction]:
    """Fit the model to every curve that was judged, in the order of the verdicts."""
    limits, reason = limits_of(run.info)
    curves = grouped(run.records, lambda record: record.case.curve)
    predictions = []
    for verdict in verdicts:
        dtype = verdict.curve.regime.dtype
        if dtype in limits:
            predictions.append(_predict(verdict, curves[verdict.curve], limits[dtype]))
        else:
            why = reason or f"no ceiling was measured in {dtype}"
            predictions.append(Prediction(verdict, None, why))
    return predictions


def _predict(verdict: Verdict, records: Sequence[Record], limits: Roofline) -> Prediction:
    logs: dict[int, list[float]] = {}
    demands: dict[int, Demand] = {}
    for record in records:
        depth = record.case.depth
        seconds = log_median(record, verdict.basis)
        if math.isnan(seconds):
            continue
        logs.setdefault(depth, []).append(seconds)
        work = work_of(record) if depth not in demands else None
        if work is not None:
            size = record.parameter_bytes or 0
            demands[depth] = demand(record.case, verdict.basis, work, size, limits)
    if not demands:
        return Prediction(verdict, None, "its operations were not counted")
    measured = {depth: math.exp(fmean(of_blocks)) for depth, of_blocks in logs.items()}
    model = fit(demands, measured, verdict.margin)
    return Prediction(
        verdict, model, "" if model else "fewer than two shallow depths to fit it to"
    )


def unseen_error(predictions: Sequence[Prediction]) -> float | None:
    """Median absolute error over all unseen depths of all curves; null if there are none."""
    models = [prediction.model for prediction in predictions if prediction.model]
    return typical(step.error for model in models for step in model.unseen)


def typical(errors: Iterable[float | None]) -> float | None:
    """Median absolute error of those that are known; null if there are none."""
    sizes = [abs(error) for error in errors if error is not None]
    return median(sizes) if sizes else None


def fit(
    demands: Mapping[int, Demand], measured: Mapping[int, float], margin: float
) -> Model | None:
    """Fit the shallow depths of one curve on one basis and predict all of them.

    Both are by depth; those without a demand are not predicted. Seconds were measured, and growth
    below ``margin`` counts as constant. None with fewer than two depths to fit.
    """
    depths = sorted(demands)
    shallow = [depth for depth in depths if depth <= DEEPEST_FITTED and depth in measured]
    if len(shallow) < 2:
        return None
    scales = _fit([demands[d] for d in shallow], np.log([measured[d] for d in shallow]))
    steps = []
    for depth in depths:
        terms = terms_of(demands[depth], scales)
        seconds = sum(terms.values())
        steps.append(Step(depth, seconds, measured.get(depth), depth in shallow, terms))
    return Model(scales, tuple(steps), constant_up_to(steps, margin), demands)


def terms_of(demand: Demand, scales: Scales) -> dict[str, float]:
    """Return the predicted seconds of one call, by what takes them."""
    host = scales.launch * demand.host
    terms = {
        LAUNCH: scales.launch * demand.floors,
        COMPUTE: scales.work * demand.compute,
        BANDWIDTH: scales.work * demand.bandwidth,
        JOIN: scales.work * demand.join,
    }
    if demand.overlapped:  # the longer hides the other
        if host >= sum(terms.values()):
            terms = dict.fromkeys(TERMS, 0.0)
        else:
            host = 0.0
    terms[LAUNCH] += host + demand.sync
    return terms


def seconds_of(demand: Demand, scales: Scales) -> float:
    """Return the predicted time of one call."""
    return sum(terms_of(demand, scales).values())


def constant_up_to(steps: Sequence[Step], margin: float) -> int:
    """Return the deepest depth to which no pair of predicted times grows by the margin."""
    least = steps[0].seconds
    for before, step in pairwise(steps):
        least = min(least, step.seconds)
        if step.seconds >= (1 + margin) * least:
            return before.depth
    return steps[-1].depth


def _fit(demands: Sequence[Demand], logs: Array) -> Scales:
    def residuals(log_scales: Array) -> Array:
        scales = Scales(*np.exp(log_scales))
        predicted = [math.log(seconds_of(demand, scales)) for demand in demands]
        return np.concatenate([(predicted - logs) / _NOISE, log_scales / _PRIOR])

    # The stubs take it for the module of the same name.
    best = optimize.least_squares(residuals, np.zeros(2))  # type: ignore[operator, unused-ignore]
    return Scales(*np.exp(best.x).tolist())
