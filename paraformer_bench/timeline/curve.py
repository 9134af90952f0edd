"""Timelines of one curve against depth: does the work go into more operations or larger ones?

Branches that are batched run one kernel after another, as a serial net does. What tells them apart
is that the number of kernels does not grow with depth, and the work inside each does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paraformer_bench.timeline.timeline import (
    CHAIN,
    CONCURRENT,
    INCOMPLETE,
    LAUNCH_BOUND,
    Timeline,
)
from paraformer_bench.timeline.words import WORDS, say

BATCHED = "batched"
FLAT = "flat"

SAME = 1.1
"""Sizes that grow by less than this factor from the shallowest to the deepest timeline do not."""

LEAST_SLOPE = 0.5
"""Fewer further operations for each block than this are none.

Libraries take other kernels for larger operands, and a split product is two: a few more in all.
"""

CURVE_WORDS = WORDS | {
    CHAIN: "one operation after another, and with depth more of them",
    BATCHED: "one operation after another and hardly more of them at greater depth, but larger "
    "ones: what depth adds runs side by side inside them",
    FLAT: "hardly more operations at greater depth, and none that the trace shows to be larger",
}


@dataclass(frozen=True)
class CurveTimeline:
    """What the timelines of one curve say together.

    Attributes:
        kind: A class of `Timeline`, ``batched`` or ``flat``.
        words: The sentence for it.
        depths: Of complete timelines, ascending.
        operations: Per step at these depths: kernels on a GPU.
        operations_per_block: Slope of the least-squares line of them against depth; None with
            fewer than two depths.
        blocks_per_sm: At these depths; None where a timeline has none.
        waves: The same.
        elements: The same.
    """

    kind: str
    words: str
    depths: list[int]
    operations: list[int]
    operations_per_block: float | None
    blocks_per_sm: list[float | None]
    waves: list[float | None]
    elements: list[int | None]


def along(timelines: Mapping[int, Timeline]) -> CurveTimeline:
    """Judge the timelines of one curve.

    Args:
        timelines: By depth.

    Returns:
        The class of the deepest complete timeline, unless the depths together say more.
    """
    depths = sorted(depth for depth, one in timelines.items() if one.kind != INCOMPLETE)
    whole = [timelines[depth] for depth in depths]
    operations = [int((one.kernels if one.on_gpu else one.operations) or 0) for one in whole]
    blocks, elements = [one.blocks_per_sm for one in whole], [one.elements for one in whole]
    kind = whole[-1].kind if whole else INCOMPLETE
    slope = None
    if len(depths) > 1:
        slope = float(np.polyfit(depths, operations, 1)[0])
        if kind != CONCURRENT and slope < LEAST_SLOPE:
            larger = _grows(blocks[0], blocks[-1]) or _grows(elements[0], elements[-1])
            kind = BATCHED if larger else FLAT
    return CurveTimeline(
        kind=kind,
        words=_words(kind, slope, whole[-1]) if whole else _why(timelines),
        depths=depths,
        operations=operations,
        operations_per_block=slope,
        blocks_per_sm=blocks,
        waves=[one.waves for one in whole],
        elements=elements,
    )


def _grows(shallow: float | None, deep: float | None) -> bool:
    return shallow is not None and deep is not None and deep > SAME * shallow


def _words(kind: str, slope: float | None, deepest: Timeline) -> str:
    if slope is None:
        return say(deepest)
    if kind in (BATCHED, FLAT):
        bound = deepest.kind == LAUNCH_BOUND
        return f"{CURVE_WORDS[kind]}; {say(deepest)}" if bound else CURVE_WORDS[kind]
    if kind == CHAIN:
        return f"{CURVE_WORDS[kind]} ({slope:.3g} more for each block)"
    more = f"{slope:.3g} more of them for each block" if slope > LEAST_SLOPE else ""
    return f"{say(deepest)}; {more or 'hardly more of them at greater depth'}"


def _why(timelines: Mapping[int, Timeline]) -> str:
    reasons = dict.fromkeys(one.reason for one in timelines.values())
    return f"{WORDS[INCOMPLETE]}: {'; '.join(reasons) or 'there is none'}"
