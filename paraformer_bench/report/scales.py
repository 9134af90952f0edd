"""Axes of the figures: what they say, how far they reach, and where they are marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from paraformer_bench.report.series import Panel

_TICK_GAP = 15.0
"""Points between the labels of two depths, and 2.5 for each of their digits."""
_MOST_SHARED = 10.0
"""An axis may be shared while it reaches no further than this times what one panel needs."""
_LEAST_FACTOR = 4.0
"""Least ratio of the ends of a y axis: noise of a few percent must look like it."""


@dataclass(frozen=True)
class Axis:
    """What stands on the y axis and behind the curves.

    Attributes:
        label: Quantity and unit.
        unit: What stands behind a value.
        guides: Exponent -> its label: lines proportional to L^exponent from the serial net's
            shallowest point.
        margin: Half-width of the band around each curve's shallowest value; 0 for none.
        unity: The values are speed-ups: draw a line at 1 and guides from the depth itself.
        upright: Depth right of which an upright line stands; 0 for none.
    """

    label: str
    unit: str
    guides: Mapping[int, str]
    margin: float = 0.0
    unity: bool = False
    upright: int = 0


@dataclass(frozen=True)
class Frame:
    """Limits of the axes: depths and y values."""

    depths: tuple[int, ...]
    low: float
    high: float


def frames(panels: Sequence[Panel], axis: Axis) -> list[Frame]:
    """Return the limits of each panel; all panels are of one device.

    One pair of limits serves all, so that panels can be compared. Where that would leave a panel
    little of its height, each gets its own; the scale stays the same, and slopes compare.
    """
    every = _frame(panels, axis)
    own = [_frame([panel], axis) for panel in panels]
    factor = max(limits.high / limits.low for limits in own)
    if every.high / every.low <= factor * _MOST_SHARED:
        return [every] * len(panels)
    stretches = [math.sqrt(factor * limits.low / limits.high) for limits in own]
    return [
        replace(every, low=limits.low / stretch, high=limits.high * stretch)
        for limits, stretch in zip(own, stretches, strict=True)
    ]


def _frame(panels: Sequence[Panel], axis: Axis) -> Frame:
    """Return limits in which every value of ``panels`` lies, and intervals as far as is useful."""
    points = [p for panel in panels for series in panel.series for p in series.points]
    lost = {depth for panel in panels for series in panel.series for depth in series.lost}
    depths = tuple(sorted({point.depth for point in points} | lost))
    values = [value for point in points for value in (point.value, *point.blocks) if value > 0]
    values += [y for panel in panels for series in panel.series for _, y in series.model]
    weights = [size for panel in panels for sizes in panel.weights for size in sizes.values()]
    values += [size for size in weights if size > 0]  # a net may have none
    values += [1.0] if axis.unity or not values else []
    values += [end for panel in panels for end in _guide_ends(panel, axis, depths[-1])]
    low, high = min(values), max(values)
    ends = [end for point in points for end in (point.low, point.high) if end and end > 0]
    low, high = max(min([low, *ends]), low / 2), min(max([high, *ends]), high * 2)
    stretch = max(math.sqrt(_LEAST_FACTOR / (high / low)), (high / low) ** 0.05)
    return Frame(depths, low / stretch, high * stretch)


def guide_start(panel: Panel, axis: Axis, depth: int) -> float:
    """Return the value from which the guides fan out: that of the first series that has the depth.

    A net of L equal steps in a row can gain L at most, so guides of a speed-up start at L.
    """
    if axis.unity:
        return float(depth)
    starts = (s.points[0] for s in panel.series if s.points)
    return next((point.value for point in starts if point.depth == depth), 0.0)


def _guide_ends(panel: Panel, axis: Axis, deepest: int) -> Iterable[float]:
    """Return the ends of the guides where they belong to what is to be seen."""
    first = min((s.points[0].depth for s in panel.series if s.points), default=0)
    start = guide_start(panel, axis, first)
    if start and not axis.unity:
        yield from (start * (deepest / first) ** exponent for exponent in axis.guides)


def depth_ticks(depths: Sequence[int], width: float) -> list[int]:
    """Return the depths that get a label: all, or as many as fit from the deepest down.

    Args:
        depths: Ascending.
        width: Of the axis, in points.
    """
    octave = width / max(math.log2(depths[-1] / depths[0]), 1.0)
    ticks = [depths[-1]]
    for depth in reversed(depths[:-1]):
        if math.log2(ticks[-1] / depth) * octave >= _TICK_GAP + 2.5 * len(str(depth)):
            ticks.append(depth)
    return ticks[::-1]
