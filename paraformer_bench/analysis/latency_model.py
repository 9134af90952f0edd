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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from scipy import optimize

from paraformer_bench.analysis.intervals import Array
from paraformer_bench.analysis.roofline import Roofline, Work
from paraformer_bench.study.case import Case

LAUNCH, COMPUTE, BANDWIDTH, JOIN = TERMS = ("launch", "compute", "bandwidth", "join")
"""What can take the time of a call: getting operations under way; arithmetic; memory traffic;
bringing branches together again."""

_JOINS = frozenset({"sum", "stack"})
_CONCURRENT = "streams"


@dataclass(frozen=True)
class Demand:
    """Seconds that one call takes at the ceilings, by what takes them.

    Attributes:
        host: Host time of launching everything.
        floors: Device time of operations too small to take longer than any operation takes;
            0 on a CPU, where launching is all that a small operation costs.
        compute: Operations that arithmetic limits.
        bandwidth: Operations that memory traffic limits.
        join: Sums and stacks, whatever limits them.
        sync: Waiting for the device.
        overlapped: Whether the host launches while the device works.
    """

    host: float
    floors: float
    compute: float
    bandwidth: float
    join: float
    sync: float
    overlapped: bool


def demand(case: Case, basis: str, work: Work, parameter_bytes: float, limits: Roofline) -> Demand:
    """Return what one call of a case asks for.

    Every operation takes the longest of three times on the device: the floor that any operation
    takes (a node of a CUDA graph), its arithmetic, its memory traffic. A weight is used once a
    call, so products draw on memory that the whole of the parameters covers. Under ``streams``
    the operations of all branches go side by side, as one operation of all their work.

    Args:
        case: What is called.
        basis: ``wall`` or ``device``.
        work: Its operations.
        parameter_bytes: Size of its parameters.
        limits: Ceilings of its precision.
    """
    ceilings = limits.ceilings
    on_cpu = case.device == "cpu"
    branches = case.spec.branches if case.execution == _CONCURRENT else 1
    side_by_side = np.clip(work.times // branches, 1, None)
    together = np.where(work.times >= branches, work.times / side_by_side, 1.0)
    turns = work.times / together
    flops, size = together * work.flops, together * work.bytes
    footprint = np.where(flops > 0, np.maximum(size, parameter_bytes), size)
    compute, transfer = limits.compute(flops), limits.transfer(size, footprint)
    longest = np.maximum(compute, transfer)
    joins = np.array([name in _JOINS for name in work.names], dtype=bool)
    floor = 0.0 if on_cpu else ceilings.node_seconds or 0.0
    small = longest < floor
    large = ~small & ~joins
    graph = case.runtime == "graph"
    launches = 1.0 if graph else float(work.times.sum())
    waits = basis == "wall" and not on_cpu
    return Demand(
        host=0.0 if basis == "device" else launches * ceilings.launch_seconds,
        floors=float(turns[small].sum() * floor),
        compute=float((turns * compute)[large & (compute >= transfer)].sum()),
        bandwidth=float((turns * transfer)[large & (compute < transfer)].sum()),
        join=float((turns * longest)[joins & ~small].sum()),
        sync=ceilings.sync_seconds if waits else 0.0,
        overlapped=waits and not graph,
    )


DEEPEST_FITTED = 4
"""Deeper measurements are not shown to the fit: they are what it is held against."""

_NOISE = 0.02
_PRIOR = 0.5
"""Spread of a measured log time, and of the logarithm of a and b before anything is measured."""


@dataclass(frozen=True)
class Scales:
    """How much longer than at the ceilings things take: ``launch`` is a, ``work`` is b."""

    launch: float = 1.0
    work: float = 1.0


@dataclass(frozen=True)
class Step:
    """The model at one depth.

    Attributes:
        depth: Blocks in the net.
        seconds: Predicted time of one call.
        measured: Geometric mean of the block medians; null where the depth has no time.
        fitted: Whether the fit has seen it.
        terms: What the predicted time consists of, in seconds, by `TERMS`.
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
    """A fitted curve.

    Attributes:
        scales: What was fitted.
        steps: By ascending depth.
        constant_up_to: Deepest depth to which no pair of predicted times grows by the margin.
        demands: By depth, what the prediction was made from.
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
        errors = [abs(step.error) for step in self.unseen if step.error is not None]
        return median(errors) if errors else None

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


def fit(
    demands: Mapping[int, Demand], measured: Mapping[int, float], margin: float
) -> Model | None:
    """Fit the shallow depths of one curve on one basis and predict all of them.

    Args:
        demands: By depth; depths without one are not predicted.
        measured: Seconds by depth.
        margin: Growth that still counts as constant.

    Returns:
        None with fewer than two depths to fit.
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


def constant_up_to(steps: Sequence[Step], margin: float) -> int:
    """Return the deepest depth to which no pair of predicted times grows by the margin."""
    least = math.inf
    reached = steps[0].depth
    for step in steps:
        least = min(least, step.seconds)
        if step.seconds >= (1 + margin) * least:
            break
        reached = step.depth
    return reached


def _fit(demands: Sequence[Demand], logs: Array) -> Scales:
    def residuals(log_scales: Array) -> Array:
        scales = Scales(*np.exp(log_scales))
        predicted = [math.log(sum(terms_of(one, scales).values())) for one in demands]
        return np.concatenate([(predicted - logs) / _NOISE, log_scales / _PRIOR])

    # The stubs take it for the module of the same name.
    found = optimize.least_squares(residuals, np.zeros(2))  # type: ignore[operator, unused-ignore]
    return Scales(*np.exp(found.x).tolist())
