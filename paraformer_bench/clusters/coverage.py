"""What a run of several shards lacks, counted in its records: its jobs may say otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from paraformer_bench.clusters.part import Part
from paraformer_bench.clusters.shard import Shard
from paraformer_bench.study.case import Case
from paraformer_bench.sweep.progress import count


def missing_shards(
    parts: Sequence[Part],
    blocks: int,
    cases: Sequence[Case],
    keys: Collection[tuple[str, int]],
    *,
    every_case: bool = True,
    continued: bool = False,
) -> list[str]:
    """Say which shards are absent or unfinished, or have fewer records than their share.

    Args:
        parts: The jobs that measured; one of them at least is a shard.
        blocks: Blocks of the whole run.
        cases: Cases of the run, those that cannot run here too.
        keys: Case id and block of every record.
        every_case: Whether ``cases`` are all; if not, they are those with a record.
        continued: Whether the run itself was continued to its end, after it was merged.
    """
    shards = [part for part in parts if part.shard]
    split = shards[0].shard
    assert split is not None
    certain = every_case and split.blocks is not None
    numbers = {part.shard.number for part in shards if part.shard}
    lacking = Counter[int]()
    if every_case or split.whole_blocks:  # else nobody knows whose a group is
        lacking = _lacking(split, numbers, blocks, cases, keys)
    said = []
    for number in range(1, split.of + 1):
        mine = [part for part in shards if part.shard and part.shard.number == number]
        lacks = lacking[number]
        if not mine:
            if lacks or not (certain or continued):
                said.append(f"shard {number}")
        elif not any(part.finished for part in mine):
            if lacks or not continued:
                said.append(f"shard {number} (unfinished)")
        elif lacks:
            known = max(part.blocks for part in mine)
            fewer = split.blocks is not None and known < blocks
            lack = f"lacks {count(lacks, 'record')}"
            said.append(
                f"shard {number} ({f'of {known} blocks, not {blocks}' if fewer else lack})"
            )
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
        due = _due_under_a_budget(split, numbers, begun)
    lacking = Counter[int]()
    for block in due:
        for group, owner in split.owners(cases, block).items():
            lacking[owner] += sum((case_id, block) not in keys for case_id in ids[group])
    return lacking


def _due_under_a_budget(split: Shard, numbers: Collection[int], begun: set[int]) -> set[int]:
    """Return the blocks that must be complete where time decides how many there are.

    Each shard goes through its own in their order, and always does the first.
    """
    last = {number: split.first_block(number) for number in numbers}
    for block in begun:
        owner = split.owner(block)
        last[owner] = max(block, last.get(owner, 0))
    reach = range(max(last.values(), default=-1) + 1)
    return {block for block in reach if block <= last.get(split.owner(block), -1)}
