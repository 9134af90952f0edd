"""One panel of a figure: curves over depth on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from paraformer_bench.report import svg
from paraformer_bench.report.scales import Axis, Frame, depth_ticks, guide_start
from paraformer_bench.report.series import Line, Panel, Series
from paraformer_bench.report.style import GRID, INK, MUTED, PAPER, Look

# All in points. Fixed margins, so that panels side by side line up and nothing is cut off.
_WIDTH, _PLOT = 346.0, 176.0
_LEFT, _RIGHT, _BOTTOM, _TOP = 56.0, 46.0, 40.0, 8.0
_STRIP_ROW = 11.0


def draw(panel: Panel, axis: Axis, limits: Frame, looks: Mapping[Line, Look]) -> Figure:
    """Draw one panel; call it within `style.drawing`."""
    rows = [series for series in panel.series if series.lost]
    height = _BOTTOM + _PLOT + _STRIP_ROW * len(rows) + _TOP
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    width = _WIDTH - _LEFT - _RIGHT
    axes = figure.add_axes((_LEFT / _WIDTH, _BOTTOM / height, width / _WIDTH, _PLOT / height))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    _set_scales(axes, axis, limits, width)
    first = min((s.points[0].depth for s in panel.series if s.points), default=0)
    for series in panel.series:
        if axis.margin and series.points:
            _band(axes, series, axis.margin, looks[series.line], limits)
    for exponent, label in axis.guides.items():
        start = guide_start(panel, axis, first)
        if 0 < start < limits.high and limits.depths[-1] > first:
            _guide(axes, exponent, label, (first, start), limits)
    for sizes in panel.weights:
        axes.plot(list(sizes), list(sizes.values()), color=MUTED, linewidth=1, linestyle=":")
    for series in panel.series:
        _series(axes, series, looks[series.line])
    for row, series in enumerate(rows):
        _lost(axes, series, looks[series.line], 1 + (row + 0.7) * _STRIP_ROW / _PLOT, limits)
    return figure


def swatch(look: Look | None) -> Figure:
    """Draw a look for a legend; None is the dotted line of the weights."""
    figure = Figure(figsize=(34 / 72, 12 / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    figure.patch.set_visible(False)
    axes.set(xlim=(0, 34), ylim=(0, 12))
    if look is None:
        axes.plot([1, 33], [6, 6], color=MUTED, linewidth=1, linestyle=":")
    else:
        axes.plot([1, 33], [6, 6], color=look.colour, linewidth=1.6, linestyle=look.dash)
        axes.plot([17], [6], color=look.colour, **_marker(look))
    return figure


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
        gid=svg.line_id(look.number),
    )


def _guide(axes: Axes, exponent: int, label: str, start: tuple[int, float], limits: Frame) -> None:
    depth, value = start
    deepest = limits.depths[-1]
    if exponent:
        deepest = min(deepest, depth * (limits.high / value) ** (1 / exponent))
    end = value * (deepest / depth) ** exponent
    axes.plot((depth, deepest), (value, end), color=MUTED, linewidth=0.9, dashes=(1, 2.5))
    cut = deepest < limits.depths[-1]
    axes.annotate(
        label,
        (deepest, end),
        xytext=(5, -1) if cut else (9, 0),
        textcoords="offset points",
        ha="left",
        va="top" if cut else "center",
        color=MUTED,
        annotation_clip=False,
    )


def _series(axes: Axes, series: Series, look: Look) -> None:
    points, gid = series.points, svg.line_id(look.number)
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
    points_gid = svg.points_id(look.number)
    axes.plot(depths, values, color=look.colour, linestyle="none", gid=points_gid, **_marker(look))


def segments(
    axes: Axes, ends: Iterable[tuple[tuple[float, float], tuple[float, float]]], **look: Any
) -> None:
    """Draw short lines as one path: a path each would make the page ten times as large."""
    xs: list[float] = []
    ys: list[float] = []
    for (x0, y0), (x1, y1) in ends:
        xs += [x0, x1, math.nan]
        ys += [y0, y1, math.nan]
    if xs:
        axes.plot(xs, ys, **look)


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
        gid=svg.line_id(look.number),
    )
    depths = limits.depths
    for number, (depth, status) in enumerate(lost):
        after = lost[number + 1] if number + 1 < len(lost) else None
        if after and after[1] == status and depths.index(after[0]) == depths.index(depth) + 1:
            continue  # the last of neighbours with the same fate speaks for them
        axes.annotate(
            status,
            (depth, height),
            xycoords=across,
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=9,
            annotation_clip=False,
            gid=svg.line_id(look.number),
        )


def _marker(look: Look) -> dict[str, Any]:
    face = look.colour if look.filled else PAPER
    return {
        "marker": look.marker,
        "markersize": 5,
        "markerfacecolor": face,
        "markeredgewidth": 1.3,
        "clip_on": False,
    }
