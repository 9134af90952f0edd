"""Interval arithmetic against counting instant by instant, and trying every chain."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from paraformer_bench.timeline.intervals import (
    Times,
    enclosing,
    length,
    longest_chain,
    time_at_depth,
    union,
)


def some(seed: int, most: int = 8) -> tuple[Times, Times]:
    random = np.random.default_rng(seed)
    starts = random.integers(0, 20, random.integers(1, most + 1))
    return starts, starts + random.integers(0, 8, len(starts))


def open_at(starts: Times, ends: Times) -> list[int]:
    return [int(((starts <= t) & (t < ends)).sum()) for t in range(starts.min(), ends.max())]


@pytest.mark.parametrize("seed", range(40))
def test_union_and_depth(seed: int) -> None:
    starts, ends = some(seed)
    depths = open_at(starts, ends)
    held = time_at_depth(starts, ends)
    assert held == [depths.count(depth) for depth in range(max(depths, default=0) + 1)]
    assert length(starts, ends) == sum(held[1:])
    merged = union(starts, ends)
    assert (merged[0][1:] > merged[1][:-1]).all()


@pytest.mark.parametrize("seed", range(40))
def test_longest_chain(seed: int) -> None:
    starts, ends = some(seed)

    def disjoint(chain: tuple[int, ...]) -> bool:
        return all(ends[a] <= starts[b] or ends[b] <= starts[a] for a, b in combinations(chain, 2))

    subsets = [s for n in range(len(starts) + 1) for s in combinations(range(len(starts)), n)]
    chains = [chain for chain in subsets if disjoint(chain)]
    found = longest_chain(starts, ends)
    assert len(set(found)) == len(found)
    assert all(ends[a] <= starts[b] for a, b in pairwise(found))
    size = (ends - starts)[found].sum()
    assert size == max((ends - starts)[list(chain)].sum() for chain in chains)


def test_of_equally_long_chains_the_one_of_more() -> None:
    assert longest_chain(np.array([0, 0, 5]), np.array([10, 5, 10])) == [1, 2]


def test_times_near_the_end_of_the_century_are_exact() -> None:
    base = 4_000_000_000_000_000_001
    starts = np.array([base, base + 1], dtype=np.int64)
    assert time_at_depth(starts, starts + 2) == [0, 2, 1]


def test_enclosing() -> None:
    starts, ends = np.array([0, 10]), np.array([5, 20])
    at = np.array([-1, 0, 4, 5, 10, 19, 20])
    assert list(enclosing(starts, ends, at)) == [-1, 0, 0, -1, 1, 1, -1]
    assert list(enclosing(starts[:0], ends[:0], at[:2])) == [-1, -1]


def test_nothing() -> None:
    none = np.array([], dtype=np.int64)
    assert (length(none, none), time_at_depth(none, none), longest_chain(none, none)) == (
        0,
        [0],
        [],
    )
