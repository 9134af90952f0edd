"""A run as a small drawing: how much time grows with depth, curve by curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.analysis.words import SERIAL, deciding

WIDTH, HEIGHT, EDGE = 120.0, 44.0, 3.0

MOST_CURVES = 40
"""More would be a blot."""


@dataclass(frozen=True)
class Spark:
    """One curve of the drawing.

    Attributes:
        serial: Whether it is a serial net's.
        points: For an SVG polyline.
    """

    serial: bool
    points: str


def sparkline(verdicts: Sequence[Verdict]) -> list[Spark]:
    """Return time over that of each curve's shallowest depth against depth, both logarithmic.

    All curves share their axes; a constant one is level, a serial net rises to the upper right.
    """
    curves = [
        (
            verdict.model == SERIAL,
            [(one.depth, one.ratio) for one in verdict.ratios if one.ratio and one.ratio > 0],
        )
        for verdict in deciding(verdicts)
    ]
    curves = [(serial, points) for serial, points in curves if len(points) > 1][:MOST_CURVES]
    if not curves:
        return []
    depths = [math.log(depth) for _, points in curves for depth, _ in points]
    growths = [math.log(ratio) for _, points in curves for _, ratio in points]
    low, high = min(0.0, *growths), max(math.log(2), *growths)
    across = (WIDTH - 2 * EDGE) / (max(depths) - min(depths))
    up = (HEIGHT - 2 * EDGE) / (high - low)
    return [
        Spark(
            serial,
            " ".join(
                f"{EDGE + across * (math.log(depth) - min(depths)):.1f},"
                f"{HEIGHT - EDGE - up * (math.log(ratio) - low):.1f}"
                for depth, ratio in points
            ),
        )
        for serial, points in curves
    ]
