"""Which cases each block visits, and in what order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Sequence

from paraformer_bench.study.case import Case


def block_groups(cases: Sequence[Case], block: int, seed: int) -> list[list[Case]]:
    """Return the cases of one block in the order of their visit.

    Cases that will be compared with each other (same regime, any method and depth) form a
    group and are visited together; the order of groups, and of cases within each, is random and
    differs from block to block.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    order = list(groups.values())
    shuffle = random.Random(f"{seed}/{block}").shuffle
    shuffle(order)
    for group in order:
        shuffle(group)
    return order


def without(groups: Iterable[Sequence[Case]], done: Collection[str]) -> list[list[Case]]:
    """Return the groups less the cases whose ids are ``done``; empty groups vanish."""
    rest = ([case for case in group if case.id not in done] for group in groups)
    return [group for group in rest if group]


def digest(cases: Iterable[Case]) -> str:
    """Return what tells the cases of a run from those of any other."""
    ids = sorted(case.id for case in cases)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
