"""When a timeline says nothing: what a trace must have before numbers are made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paraformer_bench.timeline.event import KERNEL
from paraformer_bench.timeline.matching import Work
from paraformer_bench.timeline.steps import Step

FEWEST_STEPS = 2
"""With fewer, nobody knows whether steps are alike."""

LEAST_MATCHED = 0.99


def matched(work: Work) -> float:
    """Return the share of launching calls with operations, or of operations with calls.

    The smaller one counts: a profiler can lose either.
    """
    calls, done = work.calls["correlation"], work.operations["correlation"]
    shares = [1.0]
    if len(calls):
        shares.append(float(calls.isin(done).mean()))
    if len(done):
        shares.append(float(done.isin(calls).mean()))
    return min(shares)


def fault(work: Work, steps: Sequence[Step], malformed: int) -> str:
    """Return why the trace is incomplete; an empty text if it is whole.

    Args:
        work: What ran in the steps.
        steps: Without the first.
        malformed: Events that could not be read.
    """
    if malformed:
        return f"{malformed} events have fields that make no sense"
    if len(steps) < FEWEST_STEPS:
        return f"only {len(steps)} steps are left after the first, {FEWEST_STEPS} are needed"
    kinds = work.operations["kind"]
    counted = work.operations[kinds == KERNEL] if work.on_gpu else work.operations
    what = "kernels" if work.on_gpu else "operations"
    counts = np.bincount(counted["step"], minlength=len(steps))
    if not counts.all():
        return f"{int((counts == 0).sum())} of {len(steps)} steps ran no {what}"
    if len(set(counts)) > 1:
        return f"steps ran between {counts.min()} and {counts.max()} {what}"
    if work.on_gpu and matched(work) < LEAST_MATCHED:
        return f"only {matched(work):.1%} of launches and operations could be matched"
    nodes = counted[counted["node"] != 0].groupby("step")["node"].agg(frozenset)
    if nodes.nunique() > 1:
        return "graph replays ran different nodes in different steps"
    return ""
