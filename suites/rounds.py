"""What all cases of a group have in common in one round of a block is the machine's.

A neighbour on the same cores slows whatever runs for a second or two. A round visits every case
in less, so that it hits all of them alike; a block lasts longer, and one case may have its calls
in the burst and another beside it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from math import exp, log
from statistics import median

Block = int
Rounds = Mapping[Block, Sequence[float]]
"""Times of one case: of each block, one a round."""

FEWEST = 2
"""Other cases whose median tells what a round did to all."""


def split(samples: Sequence[float], counts: Sequence[int]) -> list[float]:
    """Return the median of each round, whose numbers of ``samples`` are ``counts``.

    Samples that the counts do not explain are taken for one round.
    """
    if sum(counts) != len(samples):
        counts = [len(samples)]
    ends = accumulate(counts)
    return [median(samples[end - n : end]) for end, n in zip(ends, counts, strict=True) if n]


def steady(cases: Mapping[Hashable, Rounds]) -> dict[Hashable, dict[Block, float]]:
    """Return one time for each case and block, as steady as the cases are among themselves.

    On the logarithm: from every round of a case is taken how far the other cases of that round lie
    above their own medians over all rounds of all blocks, in the median. A block's time is the
    median of what is left of its rounds, and what was taken from them in the median is put back.
    A case does not count among its others: it would take a part of its own noise out, and its
    blocks would agree better than they do.

    Args:
        cases: Those of one group, which a worker visits in turns.
    """
    logs = {
        case: {block: [log(seconds) for seconds in rounds] for block, rounds in blocks.items()}
        for case, blocks in cases.items()
    }
    places: dict[tuple[Block, int], dict[Hashable, float]] = {}
    for case, blocks in logs.items():
        centre = median(y for rounds in blocks.values() for y in rounds)
        for block, rounds in blocks.items():
            for number, y in enumerate(rounds):
                places.setdefault((block, number), {})[case] = y - centre
    found: dict[Hashable, dict[Block, float]] = {case: {} for case in logs}
    for case, blocks in logs.items():
        for block, rounds in blocks.items():
            common = [_common(places[block, number], case) for number in range(len(rounds))]
            own = median(y - shared for y, shared in zip(rounds, common, strict=True))
            found[case][block] = exp(own + median(common))
    return found


def _common(apart: Mapping[Hashable, float], case: Hashable) -> float:
    """What a round did to the others of a case; 0 if there are too few to tell."""
    others = [y for other, y in apart.items() if other != case]
    return median(others) if len(others) >= FEWEST else 0.0
