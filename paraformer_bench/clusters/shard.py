"""A part of a sweep that is a job of its own: which blocks, or groups of a block, are its share.

Nothing is agreed upon between the jobs: the same cases and the same number of shards give the same
split everywhere. A group of cases in a block, which is what is compared, is never divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from heapq import heapreplace
from typing import Any

from paraformer_bench.study import checks
from paraformer_bench.study.case import Case

MOST_SHARDS = 10_000
MOST_BLOCKS = 10_000


@dataclass(frozen=True)
class Shard:
    """One of several jobs that make a sweep together.

    Attributes:
        number: Which one, from 1.
        of: How many there are.
        blocks: Blocks of the whole sweep that the split is made for; blocks that are added later
            are dealt on in the same way. None where a budget decides how many there will be.
    """

    number: int
    of: int
    blocks: int | None

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"

    @property
    def whole_blocks(self) -> bool:
        """Whether there are blocks enough for each shard to have whole ones."""
        return self.blocks is None or self.of <= self.blocks

    @property
    def cycle(self) -> int:
        """Blocks after which the split begins anew."""
        return 2 * self.of if self.blocks is None or self.whole_blocks else self.blocks

    def share(self, cases: Sequence[Case], block: int) -> frozenset[str]:
        """Return the groups that this shard visits in a block.

        Args:
            cases: Every case of the whole sweep, those that cannot run here too.
            block: Index of the block.
        """
        owners = self.owners(cases, block)
        return frozenset(group for group, owner in owners.items() if owner == self.number)

    def owners(self, cases: Sequence[Case], block: int) -> dict[str, int]:
        """Return the number of the shard that visits each group in a block; see `share`."""
        groups = Counter(case.group for case in cases)
        if self.whole_blocks:
            return dict.fromkeys(groups, self.owner(block))
        assert self.blocks is not None
        names = sorted(groups)
        dealt = _deal(tuple(groups[name] for name in names), self.blocks, self.of)
        return dict(zip(names, dealt[block % self.blocks], strict=True))

    def owner(self, block: int) -> int:
        """Return the number of the shard that visits a block, where shards have whole ones."""
        return block // self._stride() % self.of + 1

    def first_block(self, number: int) -> int:
        """Return the first block of a shard, where shards have whole ones."""
        return (number - 1) * self._stride()

    def timelines(self, cases: Sequence[Case], timed: Iterable[Case]) -> frozenset[str]:
        """Return the ids of the curves of which this shard takes the timelines.

        The curves of a group are dealt among the shards that time it.

        Args:
            cases: Every case of the whole sweep.
            timed: Those among them that can run here.
        """
        timing: dict[str, dict[int, None]] = {}
        for block in range(self.blocks or self.cycle):
            for group, owner in self.owners(cases, block).items():
                timing.setdefault(group, {})[owner] = None
        takers = {group: list(owners) for group, owners in timing.items()}
        group_of = {case.curve_id: case.group for case in timed}
        return frozenset(
            curve
            for turn, (curve, group) in enumerate(sorted(group_of.items()))
            if takers[group][turn % len(takers[group])] == self.number
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Shard:
        """Rebuild a shard from `to_json`.

        Raises:
            KeyError: A field is missing.
            UsageError: A field makes no sense.
        """
        of = checks.whole(data["of"], "shards", 1, MOST_SHARDS)
        number = checks.whole(data["number"], "shard", 1, of)
        blocks = data["blocks"]
        return cls(
            number, of, None if blocks is None else checks.whole(blocks, "blocks", 1, MOST_BLOCKS)
        )

    def _stride(self) -> int:
        """Return how many blocks in a row go to one shard.

        The two blocks of a pair, of which the second goes backwards through the rounds of the
        first, stay together unless a shard would have more blocks to do for it.
        """
        if self.blocks is None:
            return 2
        turns, rest = divmod(self.blocks, 2 * self.of)
        most = 2 * turns + min(rest, 2)  # of the first shard, which no other has more than
        return 2 if _ceil(self.blocks, 2) >= self.of and most <= _ceil(self.blocks, self.of) else 1


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
