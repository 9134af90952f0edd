"""What one call asks of a device at its measured ceilings: the terms of the latency model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paraformer_bench.analysis.roofline import Limits, Work
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


def demand(case: Case, basis: str, work: Work, parameter_bytes: float, limits: Limits) -> Demand:
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
