"""One panel of a figure: its axes, how far they reach, and the curves over depth on them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from paraformer_bench.report.figures import style
from paraformer_bench.report.figures.series import Panel, Series
from paraformer_bench.report.figures.style import GRID, MUTED, PAPER, Look, plot, segments, write
from paraformer_bench.report.figures.svg import line_id, points_id

# All in points. Fixed margins, so that panels side by side line up and nothing is cut off.
_WIDTH, _PLOT = 346.0, 176.0
_LEFT, _RIGHT, _BOTTOM, _TOP = 56.0, 46.0, 40.0, 8.0
_STRIP_ROW = 11.0
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


def draw(panel: Panel, axis: Axis, limits: Frame, looks: Mapping[str, Look]) -> Figure:
    """Draw one panel; call it within `style.drawing`."""
    rows = [series for series in panel.series if series.lost]
    height = _BOTTOM + _PLOT + _STRIP_ROW * len(rows) + _TOP
    figure, axes = plot(_WIDTH, height, _LEFT, _BOTTOM, _RIGHT, height - _BOTTOM - _PLOT)
    _set_scales(axes, axis, limits, _WIDTH - _LEFT - _RIGHT)
    first = min((s.points[0].depth for s in panel.series if s.points), default=0)
    for series in panel.series:
        if axis.margin and series.points:
            _band(axes, series, axis.margin, looks[series.curve.label], limits)
    for exponent, label in axis.guides.items():
        start = guide_start(panel, axis, first)
        if 0 < start < limits.high and limits.depths[-1] > first:
            _guide(axes, exponent, label, (first, start), limits)
    for sizes in panel.weights:
        axes.plot(list(sizes), list(sizes.values()), color=MUTED, linewidth=1, linestyle=":")
    for series in panel.series:
        _series(axes, series, looks[series.curve.label])
    for row, series in enumerate(rows):
        _lost(
            axes, series, looks[series.curve.label], 1 + (row + 0.7) * _STRIP_ROW / _PLOT, limits
        )
    return figure


def swatch(look: Look | None) -> Figure:
    """Draw a look for a legend; None is the dotted line of the weights."""
    if look is None:
        return style.swatch(color=MUTED, linewidth=1, linestyle=":")
    marker = _marker(look) if look.marker else None
    return style.swatch(1, marker, color=look.colour, linewidth=1.6, linestyle=look.dash)


def _set_scales(axes: Axes, axis: Axis, limits: Frame, width: float) -> None:
    depths = limits.depths
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    pad = max(0.04 * math.log2(depths[-1] / depths[0]), 0.12) if len(depths) > 1 else 1.0
    axes.set_xlim(depths[0] / 2**pad, depths[-1] * 2**pad)
    axes.set_ylim(limits.low, limits.high)
    axes.xaxis.set_major_locator(FixedLocator(depth_ticks(depths, width)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda depth, _: f"{depth:g}"))
    decades = math.log10(limits.high / limits.low)
    subs = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0, 3.0) if decades < 3.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel("depth L (blocks in the net)")
    axes.set_ylabel(axis.label)
    axes.yaxis.set_label_coords(-(_LEFT - 9) / width, 0.5)
    rules = [y for y in axes.yaxis.get_majorticklocs() if limits.low <= y <= limits.high]
    segments(
        axes,
        [((0, y), (1, y)) for y in rules],
        color=GRID,
        linewidth=0.7,
        clip_on=False,
        transform=axes.get_yaxis_transform(),
    )
    sns.despine(ax=axes, left=True)
    if axis.unity:
        axes.axhline(1, color=MUTED, linewidth=0.9)
    if axis.upright and depths[0] <= axis.upright < depths[-1]:
        axes.axvline(axis.upright * 2**0.5, color=MUTED, linewidth=1, linestyle=":")


def _band(axes: Axes, series: Series, margin: float, look: Look, limits: Frame) -> None:
    first, last = series.points[0].depth, limits.depths[-1]
    low, high = series.points[0].value / (1 + margin), series.points[0].value * (1 + margin)
    axes.fill(
        (first, first, last, last),
        (low, high, high, low),
        color=look.colour,
        alpha=0.1,
        linewidth=0,
        gid=line_id(look.number),
    )


def _guide(axes: Axes, exponent: int, label: str, start: tuple[int, float], limits: Frame) -> None:
    depth, value = start
    deepest = limits.depths[-1]
    if exponent:
        deepest = min(deepest, depth * (limits.high / value) ** (1 / exponent))
    end = value * (deepest / depth) ** exponent
    axes.plot((depth, deepest), (value, end), color=MUTED, linewidth=0.9, dashes=(1, 2.5))
    cut = deepest < limits.depths[-1]
    by = (5, -1) if cut else (9, 0)
    write(axes, label, (deepest, end), by, va="top" if cut else "center", color=MUTED)


def _series(axes: Axes, series: Series, look: Look) -> None:
    points, gid = series.points, line_id(look.number)
    depths, values = [p.depth for p in points], [p.value for p in points]
    seen = [(p.depth, value) for p in points for value in p.blocks]
    segments(
        axes,
        [((d / 1.05, v), (d * 1.05, v)) for d, v in seen],
        color=look.colour,
        linewidth=0.8,
        alpha=0.5,
        gid=gid,
    )
    known = [p for p in points if p.low and p.high]
    bars = [((p.depth, p.low or 0), (p.depth, p.high or 0)) for p in known]
    segments(axes, bars, color=look.colour, linewidth=1.1, gid=gid)
    if series.model:  # what was measured are points, what is thought of them is the line
        depths_of_line, line = zip(*series.model, strict=True)
    else:
        depths_of_line, line = tuple(depths), tuple(values)
    axes.plot(
        depths_of_line,
        line,
        color=look.colour,
        linewidth=1.6,
        linestyle=look.dash,
        clip_on=False,
        gid=gid,
    )
    points_gid = points_id(look.number)
    axes.plot(depths, values, color=look.colour, linestyle="none", gid=points_gid, **_marker(look))


def _lost(axes: Axes, series: Series, look: Look, height: float, limits: Frame) -> None:
    """Mark the depths without a value above the plot, with their status."""
    across = axes.get_xaxis_transform()
    lost = sorted(series.lost.items())
    axes.plot(
        [depth for depth, _ in lost],
        [height] * len(lost),
        transform=across,
        clip_on=False,
        linestyle="none",
        marker="x",
        markersize=5,
        markeredgewidth=1.5,
        color=look.colour,
        gid=line_id(look.number),
    )
    depths = limits.depths
    for number, (depth, status) in enumerate(lost):
        after = lost[number + 1] if number + 1 < len(lost) else None
        if after and after[1] == status and depths.index(after[0]) == depths.index(depth) + 1:
            continue  # the last of neighbours with the same fate speaks for them
        at, gid = (depth, height), line_id(look.number)
        write(axes, status, at, (5, 0), xycoords=across, fontsize=9, gid=gid)


def _marker(look: Look) -> dict[str, Any]:
    face = look.colour if look.filled else PAPER
    return {
        "marker": look.marker,
        "markersize": 5,
        "markerfacecolor": face,
        "markeredgewidth": 1.3,
        "clip_on": False,
    }
