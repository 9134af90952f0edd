"""A part of a sweep that is a job of its own: what its share is.

Nothing is agreed upon between the jobs: the same cases and the same number of shards give the same
split everywhere. A group of cases in a block, which is what is compared, is never divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import heapreplace
from math import ceil

from paraformer_bench.study.case import Case
from paraformer_bench.study.run_folder import Shard


def share(shard: Shard, cases: Sequence[Case], block: int) -> frozenset[str]:
    """Return the groups that a shard visits in a block.

    ``cases`` are those of the whole sweep, those that cannot run here too.
    """
    dealt = owners(shard, cases, block)
    return frozenset(group for group, owner in dealt.items() if owner == shard.number)


def timelines(shard: Shard, cases: Sequence[Case], timed: Iterable[Case]) -> frozenset[str]:
    """Return the ids of the curves of which a shard takes the timelines.

    The curves of a group are dealt among the shards that time it. ``cases`` are as in `share`,
    ``timed`` those among them that can run here.
    """
    dealt = [owners(shard, cases, block) for block in range(shard.blocks or cycle(shard))]
    group_of = {case.curve_id: case.group for case in timed}
    takers = {
        group: list(dict.fromkeys(numbers[group] for numbers in dealt))
        for group in set(group_of.values())
    }
    return frozenset(
        curve
        for turn, (curve, group) in enumerate(sorted(group_of.items()))
        if takers[group][turn % len(takers[group])] == shard.number
    )


def whole_blocks(split: Shard) -> bool:
    """Whether there are blocks enough for each shard to have whole ones."""
    return split.blocks is None or split.of <= split.blocks


def cycle(split: Shard) -> int:
    """Blocks after which the split begins anew."""
    return 2 * split.of if split.blocks is None or whole_blocks(split) else split.blocks


def owners(split: Shard, cases: Sequence[Case], block: int) -> dict[str, int]:
    """Return the number of the shard that visits each group in a block; see `share`."""
    groups = Counter(case.group for case in cases)
    if split.blocks is None or whole_blocks(split):
        return dict.fromkeys(groups, owner_of(split, block))
    names = sorted(groups)
    dealt = _deal(tuple(groups[name] for name in names), split.blocks, split.of)
    return dict(zip(names, dealt[block % split.blocks], strict=True))


def owner_of(split: Shard, block: int) -> int:
    """Return the number of the shard that visits a block, where shards have whole ones."""
    return block // _stride(split) % split.of + 1


@lru_cache
def _stride(split: Shard) -> int:
    """Return how many blocks in a row go to one shard.

    The two blocks of a pair, of which the second goes backwards through the rounds of the first,
    stay together unless a shard would have more blocks to do for it.
    """
    if split.blocks is None:
        return 2
    loads = Counter(block // 2 % split.of for block in range(split.blocks))
    costs_nothing = max(loads.values()) <= ceil(split.blocks / split.of)
    return 2 if costs_nothing and len(loads) == split.of else 1


@lru_cache(maxsize=4)
def _deal(sizes: tuple[int, ...], blocks: int, of: int) -> list[list[int]]:
    """Return for each block the number of the shard of each group of so many cases.

    The groups of all blocks are dealt, the largest first, each to the shard with the least so far;
    the blocks of a group follow each other, so that they are spread over many machines. This is
    the LPT rule (R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM Journal on
    Applied Mathematics 17, 1969): the longest shard is at most a third longer than it must be.
    """
    owners = [[0] * len(sizes) for _ in range(blocks)]
    loads = [(0, number) for number in range(1, of + 1)]
    for size, group in sorted((-size, group) for group, size in enumerate(sizes)):
        for block in range(blocks):
            load, number = loads[0]
            owners[block][group] = number
            heapreplace(loads, (load - size, number))
    return owners
