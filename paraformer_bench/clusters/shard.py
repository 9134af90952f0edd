"""A part of a sweep that is a job of its own: what its share is, and what is missing of all.

Nothing is agreed upon between the jobs: the same cases and the same number of shards give the same
split everywhere. A group of cases in a block, which is what is compared, is never divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from heapq import heapreplace

from paraformer_bench.study.case import Case
from paraformer_bench.study.run_folder import Part, Shard


def share(shard: Shard, cases: Sequence[Case], block: int) -> frozenset[str]:
    """Return the groups that a shard visits in a block.

    Args:
        shard: Which one.
        cases: Every case of the whole sweep, those that cannot run here too.
        block: Index of the block.
    """
    dealt = owners(shard, cases, block)
    return frozenset(group for group, owner in dealt.items() if owner == shard.number)


def owners(split: Shard, cases: Sequence[Case], block: int) -> dict[str, int]:
    """Return the number of the shard that visits each group in a block; see `share`.

    Args:
        split: Any shard of the sweep.
        cases: As in `share`.
        block: Index of the block.
    """
    groups = Counter(case.group for case in cases)
    if whole_blocks(split):
        return dict.fromkeys(groups, owner_of(split, block))
    assert split.blocks is not None
    names = sorted(groups)
    dealt = _deal(tuple(groups[name] for name in names), split.blocks, split.of)
    return dict(zip(names, dealt[block % split.blocks], strict=True))


def timelines(shard: Shard, cases: Sequence[Case], timed: Iterable[Case]) -> frozenset[str]:
    """Return the ids of the curves of which a shard takes the timelines.

    The curves of a group are dealt among the shards that time it.

    Args:
        shard: Which one.
        cases: Every case of the whole sweep.
        timed: Those among them that can run here.
    """
    timing: dict[str, dict[int, None]] = {}
    for block in range(shard.blocks or cycle(shard)):
        for group, owner in owners(shard, cases, block).items():
            timing.setdefault(group, {})[owner] = None
    takers = {group: list(numbers) for group, numbers in timing.items()}
    group_of = {case.curve_id: case.group for case in timed}
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


def owner_of(split: Shard, block: int) -> int:
    """Return the number of the shard that visits a block, where shards have whole ones."""
    return block // _stride(split) % split.of + 1


def missing_shards(
    parts: Sequence[Part],
    blocks: int,
    cases: Sequence[Case],
    keys: Collection[tuple[str, int]],
    *,
    every_case: bool,
) -> list[str]:
    """Say which shards are absent or unfinished, or have fewer records than their share.

    The records are counted: the jobs themselves may say otherwise.

    Args:
        parts: The jobs that measured; one of them at least is a shard.
        blocks: Blocks of the whole run.
        cases: Cases of the run, those that cannot run here too.
        keys: Case id and block of every record.
        every_case: Whether ``cases`` are all; if not, they are those with a record.
    """
    shards = [(part.shard, part) for part in parts if part.shard]
    split, _ = shards[0]
    lacking = Counter[int]()
    if every_case or whole_blocks(split):  # else nobody knows whose a group is
        lacking = _lacking(split, {shard.number for shard, _ in shards}, blocks, cases, keys)
    said = []
    for number in range(1, split.of + 1):
        mine = [part for shard, part in shards if shard.number == number]
        if not mine:
            # One to which nothing fell need not be there.
            if lacking[number] or not every_case or split.blocks is None:
                said.append(f"shard {number}")
        elif not any(part.finished for part in mine):
            said.append(f"shard {number} (unfinished)")
        elif lacks := lacking[number]:
            known = max(part.blocks or 0 for part in mine)
            why = f"lacks {lacks} record{'' if lacks == 1 else 's'}"
            if split.blocks is not None and known < blocks:
                why = f"of {known} blocks, not {blocks}"
            said.append(f"shard {number} ({why})")
    if not said and not every_case:
        said.append("cases of which there is no record")
    return said


def _lacking(
    split: Shard,
    numbers: Collection[int],
    blocks: int,
    cases: Sequence[Case],
    keys: Collection[tuple[str, int]],
) -> Counter[int]:
    """Return how many records of each shard's share are not there."""
    ids: dict[str, list[str]] = {}
    for case in cases:
        ids.setdefault(case.group, []).append(case.id)
    begun = {block for _, block in keys}
    due = begun | set(range(blocks))
    if split.blocks is None:
        # Each goes through its own blocks in their order, and always does the first.
        last = {number: (number - 1) * _stride(split) for number in numbers}
        for block in begun:
            owner = owner_of(split, block)
            last[owner] = max(block, last.get(owner, 0))
        reach = range(max(last.values(), default=-1) + 1)
        due = {block for block in reach if block <= last.get(owner_of(split, block), -1)}
    lacking = Counter[int]()
    for block in due:
        for group, owner in owners(split, cases, block).items():
            lacking[owner] += sum((case_id, block) not in keys for case_id in ids[group])
    return lacking


def _stride(split: Shard) -> int:
    """Return how many blocks in a row go to one shard.

    The two blocks of a pair, of which the second goes backwards through the rounds of the first,
    stay together unless a shard would have more blocks to do for it.
    """
    if split.blocks is None:
        return 2
    turns, rest = divmod(split.blocks, 2 * split.of)
    most = 2 * turns + min(rest, 2)  # of the first shard, which no other has more than
    pairs_suffice = _ceil(split.blocks, 2) >= split.of
    return 2 if pairs_suffice and most <= _ceil(split.blocks, split.of) else 1


@lru_cache(maxsize=4)
def _deal(sizes: tuple[int, ...], blocks: int, of: int) -> list[list[int]]:
    """Deal the groups of all blocks, the largest first, each to the shard with the least so far.

    The blocks of a group follow each other, so that they are spread over many machines. This is
    the LPT rule (R. L. Graham, "Bounds on multiprocessing timing anomalies", SIAM Journal on
    Applied Mathematics 17, 1969): the longest shard is at most a third longer than it must be.

    Args:
        sizes: Cases of each group.
        blocks: Blocks that each group is measured in.
        of: Number of shards.

    Returns:
        For each block the number of the shard of each group, in the order of ``sizes``.
    """
    owners = [[0] * len(sizes) for _ in range(blocks)]
    loads = [(0, number) for number in range(1, of + 1)]
    for size, group in sorted((-size, group) for group, size in enumerate(sizes)):
        for block in range(blocks):
            load, number = loads[0]
            owners[block][group] = number
            heapreplace(loads, (load - size, number))
    return owners


def _ceil(number: int, parts: int) -> int:
    return -(-number // parts)
