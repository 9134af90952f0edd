"""The operations of the host: of all recorded calls those that `instrument.counts` counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from paraformer_bench.timeline.event import HOST_OPERATION
from paraformer_bench.timeline.names import HELPERS, counts


def host_operations(events: pd.DataFrame) -> pd.DataFrame:
    """Return the host's operations, none of them within another one.

    Args:
        events: Of a trace, ordered by start, those around others first.
    """
    calls = events[events["kind"] == HOST_OPERATION]
    counted = np.zeros(len(calls), dtype=np.bool_)
    threads = calls["thread"].to_numpy()
    for thread in pd.unique(threads):
        there = np.flatnonzero(threads == thread)
        counted[there] = _counted(calls.iloc[there])
    return calls[counted]


def _counted(calls: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which calls of one thread are operations.

    What an operation calls is part of it. But `torch.vmap` records an operation on all branches
    around those that it is made of: such a wrapper calls the operation of its own name, and within
    it the innermost ones count.
    """
    names = calls["name"].tolist()
    known = {name: counts(name) for name in set(names)}
    parents = _parents(calls["start"].tolist(), calls["end"].tolist())
    wraps, holds = [False] * len(names), [False] * len(names)
    for one in range(len(names) - 1, -1, -1):
        parent = parents[one]
        if parent >= 0:
            wraps[parent] |= known[names[one]] and names[one] == names[parent]
            holds[parent] |= holds[one] or (known[names[one]] and names[one] not in HELPERS)
    counted, covered = np.zeros(len(names), dtype=np.bool_), [False] * len(names)
    for one, parent in enumerate(parents):
        if parent >= 0:
            covered[one] = covered[parent] or bool(counted[parent])
            wraps[one] |= wraps[parent]
        counted[one] = known[names[one]] and not covered[one] and not (wraps[one] and holds[one])
    return counted


def _parents(starts: list[int], ends: list[int]) -> list[int]:
    """Return for each call the position of the innermost one around it, or -1."""
    parents, around = [], list[int]()
    for one, start in enumerate(starts):
        while around and ends[around[-1]] <= start:
            around.pop()
        parents.append(around[-1] if around else -1)
        around.append(one)
    return parents
