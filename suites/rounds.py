"""What all cases of a group have in common in one round of a block is the machine's.

A neighbour on the same cores slows whatever runs for a second or two. A round visits every case
in less, so that it hits all of them alike; a block lasts longer, and one case may have its calls
in the burst and another beside it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import exp, log
from statistics import median

Block = int
Rounds = Mapping[Block, Sequence[float]]
"""Times of one case: of each block, one a round."""

FEWEST = 3
"""Cases whose median tells what a round did to all."""


def split(samples: Sequence[float], counts: Sequence[int]) -> list[float]:
    """Return the median of each round, whose numbers of ``samples`` are ``counts``.

    Samples that the counts do not explain are taken for one round.
    """
    if sum(counts) != len(samples):
        counts = [len(samples)]
    ends = [sum(counts[: number + 1]) for number in range(len(counts))]
    return [median(samples[end - n : end]) for end, n in zip(ends, counts, strict=True) if n]


def steady(cases: Mapping[Hashable, Rounds]) -> dict[Hashable, dict[Block, float]]:
    """Return one time for each case and block, as steady as the cases are among themselves.

    On the logarithm: from every round is taken how far its cases lie above their own medians over
    all rounds of all blocks, in the median over the cases. A block's time is the median of what is
    left of its rounds, and what the block's rounds had in common in the median is put back.

    Args:
        cases: Those of one group, which a worker visits in turns.
    """
    logs = {
        case: {block: [log(seconds) for seconds in rounds] for block, rounds in blocks.items()}
        for case, blocks in cases.items()
    }
    places: dict[tuple[Block, int], list[float]] = {}
    for blocks in logs.values():
        centre = median(y for rounds in blocks.values() for y in rounds)
        for block, rounds in blocks.items():
            for number, y in enumerate(rounds):
                places.setdefault((block, number), []).append(y - centre)
    common = {
        place: median(apart) if len(apart) >= FEWEST else 0.0 for place, apart in places.items()
    }
    found: dict[Hashable, dict[Block, float]] = {case: {} for case in logs}
    for case, blocks in logs.items():
        for block, rounds in blocks.items():
            own = median(y - common[block, number] for number, y in enumerate(rounds))
            back = median(common[block, number] for number in range(len(rounds)))
            found[case][block] = exp(own + back)
    return found
