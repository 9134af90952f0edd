"""Arithmetic of time intervals in whole nanoseconds."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Times: TypeAlias = npt.NDArray[np.int64]


def union(starts: Times, ends: Times) -> tuple[Times, Times]:
    """Return starts and ends of the intervals that are left when touching ones are merged."""
    if not len(starts):
        return starts, ends
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(ends[order])
    first = np.append(True, starts[1:] > reach[:-1])
    last = np.append(first[1:], True)
    return starts[first], reach[last]


def length(starts: Times, ends: Times) -> int:
    """Return the nanoseconds in which at least one interval is open."""
    starts, ends = union(starts, ends)
    return int((ends - starts).sum())


def time_at_depth(starts: Times, ends: Times) -> list[int]:
    """Return the nanoseconds in which exactly 0, 1, 2, … intervals are open, first to last."""
    if not len(starts):
        return [0]
    times = np.concatenate([starts, ends])
    change = np.repeat([1, -1], len(starts))
    order = np.argsort(times, kind="stable")  # of equal times, starts come first
    depth = np.cumsum(change[order])[:-1]
    waits = np.diff(times[order])
    lasting = waits > 0
    times_at = np.zeros(int(depth[lasting].max(initial=0)) + 1, dtype=np.int64)
    np.add.at(times_at, depth[lasting], waits[lasting])
    return [int(time) for time in times_at]


def longest_chain(starts: Times, ends: Times) -> list[int]:
    """Return the longest sequence of intervals of which each starts after the last one ended.

    Longest is the most time in intervals, and of equal ones the most intervals. It is weighted
    interval scheduling (Kleinberg and Tardos, Algorithm Design, section 6.1), in O(n log n). The
    intervals are told by their positions, in the order of time.
    """
    order = np.lexsort((starts, ends))
    ends_in_order = ends[order]
    best: list[tuple[int, int]] = [(0, 0)]
    taken: list[bool] = []
    before: list[int] = []
    for rank, position in enumerate(order):
        earlier = min(int(np.searchsorted(ends_in_order, starts[position], "right")), rank)
        time, count = best[earlier]
        with_it = (time + int(ends[position] - starts[position]), count + 1)
        taken.append(with_it > best[-1])
        before.append(earlier)
        best.append(max(with_it, best[-1]))
    chain, rank = [], len(order)
    while rank:
        if taken[rank - 1]:
            chain.append(int(order[rank - 1]))
            rank = before[rank - 1]
        else:
            rank -= 1
    return chain[::-1]


def enclosing(starts: Times, ends: Times, at: Times) -> npt.NDArray[np.intp]:
    """Return for each time ``at`` the position of the interval that it lies in, or -1.

    The intervals do not overlap and are ascending.
    """
    if not len(starts):
        return np.full(len(at), -1, dtype=np.intp)
    before = np.searchsorted(starts, at, "right") - 1
    inside = (before >= 0) & (at < ends[before])
    return np.where(inside, before, -1)
