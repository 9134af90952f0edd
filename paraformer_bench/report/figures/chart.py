"""A figure over depth: a panel a regime, a legend, a note and the values as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paraformer_bench.report.data import Conditions
from paraformer_bench.report.figures import style, svg
from paraformer_bench.report.figures.series import Panel, Series
from paraformer_bench.report.figures.style import GRID, MUTED, Look, plot, segments, write
from paraformer_bench.report.html import Swatches, rich
from paraformer_bench.report.page import Chart, ChartPanel, Column, Table
from paraformer_bench.study.words import NONE, short, span

# All in points. Fixed margins, so that panels side by side line up and nothing is cut off.
_WIDTH, _PLOT = 346.0, 176.0
_LEFT, _RIGHT, _BOTTOM, _TOP = 56.0, 46.0, 40.0, 8.0
_LOST_ROW = 11.0
_TICK_GAP = 15.0
"""Points between the labels of two depths, and 2.5 for each of their digits."""
_MOST_SHARED = 10.0
"""An axis may be shared while it reaches no further than this times what one panel needs."""
_LEAST_FACTOR = 4.0
"""Least ratio of the ends of a y axis: noise of a few percent must look like it."""

Values = tuple[int | None, str, Mapping[int, str]]
"""A row of the table: number of the line, label, and text by depth."""


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


def chart(
    key: str,
    title: str,
    note: str,
    panels: Sequence[Panel],
    axis: Axis,
    looks: Mapping[str, Look],
    regimes: Mapping[str, Conditions],
) -> Chart | None:
    """Draw a figure with its legend and tables; null where there is no point to draw.

    ``key`` is its anchor and the start of every id, ``note`` says how to read it; ``looks`` are
    those of the curves by label, ``regimes`` the words for the panels by group.
    """
    if not any(series.points for panel in panels for series in panel.series):
        return None
    drawn: list[ChartPanel] = []
    apart = False
    with style.drawing():
        for device in dict.fromkeys(panel.device for panel in panels):
            of_device = [panel for panel in panels if panel.device == device]
            limits_of = frames(of_device, axis)
            apart = apart or len(set(limits_of)) > 1
            for panel, limits in zip(of_device, limits_of, strict=True):
                regime = regimes[panel.group]
                name, what = f"{key}-{len(drawn) + 1}", f"{title}: {regime.full}"
                figure = _draw(panel, axis, limits, looks)
                drawing = svg.to_svg(figure, name, what, _description(panel, axis))
                columns = [Column(str(L), partial(_at_depth, depth=L)) for L in limits.depths]
                table = Table(
                    [
                        Column[Values]("method", lambda row: rich("<bdi>{}</bdi>", row[1])),
                        *columns,
                    ],
                    _rows(panel, looks),
                    look="values",
                    label=f"{title}, {regime.short}",
                    caption=rich("<bdi>{}</bdi>: {}, at depth L", regime.short, axis.label),
                    region={"data-regime": regime.number},
                    attributes=lambda row: {"data-line": row[0]},
                )
                drawn.append(ChartPanel(regime.number, regime.short, drawing, table))
        legend = _legend(key, panels, looks)
    if apart:
        note += " Each panel starts where its values do; a factor is equally tall in all of them."
    elif len(drawn) > 1:
        note += " All panels share one axis."
    return Chart(drawn, key, title, note, axis.unit, legend)


def swatch(look: Look) -> Figure:
    """Draw a look for a legend."""
    points = look.points if look.marker else None
    return style.swatch(1, points, color=look.colour, linewidth=1.6, linestyle=look.dash)


def _legend(key: str, panels: Sequence[Panel], looks: Mapping[str, Look]) -> Swatches:
    curves = [series.curve for panel in panels for series in panel.series]
    labels = dict.fromkeys(c.label for c in sorted(curves, key=lambda curve: curve.sort_key))
    drawn = [(label, looks[label]) for label in labels]
    entries: list[tuple[int | None, str, Figure, str]] = [
        (look.number, label, swatch(look), look.words) for label, look in drawn
    ]
    if any(panel.weights for panel in panels):
        dotted = style.swatch(color=MUTED, linewidth=1, linestyle=":")
        entries.append((None, "weights", dotted, "thin dotted line"))
    return [
        (line, label, svg.to_svg(figure, f"{key}-swatch-{place}", words, "legend"))
        for place, (line, label, figure, words) in enumerate(entries, start=1)
    ]


def _rows(panel: Panel, looks: Mapping[str, Look]) -> list[Values]:
    """Return by depth what stands in the table: a value, or why there is none."""
    rows: list[Values] = []
    for series in panel.series:
        texts = dict(series.lost)
        for point in series.points:
            interval = span(point.low, point.high)
            texts[point.depth] = _text(point.value) + (f" ({interval})" if interval else "")
        rows.append((looks[series.curve.label].number, series.curve.label, texts))
    weights = [{depth: short(size) for depth, size in sizes.items()} for sizes in panel.weights]
    return [*rows, *((None, "weights", texts) for texts in weights)]


def _at_depth(row: Values, depth: int) -> str:
    return row[2].get(depth, NONE)


def _description(panel: Panel, axis: Axis) -> str:
    """Say what the panel shows: first and last value of each curve, and what was lost."""
    clauses = []
    for series in panel.series:
        ends = dict.fromkeys((*series.points[:1], *series.points[-1:]))
        values = ", ".join(f"{_text(point.value)} at depth {point.depth}" for point in ends)
        lost = ", ".join(f"{fate} at depth {depth}" for depth, fate in sorted(series.lost.items()))
        clause = f"{series.curve.label}: {values}" if values else series.curve.label
        clauses.append(f"{clause}; {lost}" if lost else clause)
    return f"{axis.label}. {'. '.join(clauses)}."


def _text(value: float) -> str:
    """Return a value as text; a count, which is an int, keeps all of its digits."""
    return f"{value:,}" if isinstance(value, int) else short(value)


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
    every = [series for panel in panels for series in panel.series]
    points = [point for series in every for point in series.points]
    depths = sorted({p.depth for p in points} | {depth for s in every for depth in s.lost})
    values = [value for point in points for value in (point.value, *point.blocks)]
    values += [value for series in every for _, value in series.model]
    values += [size for panel in panels for sizes in panel.weights for size in sizes.values()]
    for panel in panels:
        first, start = _guide_start(panel, axis)
        if start and not axis.unity:
            values += [start * (depths[-1] / first) ** exponent for exponent in axis.guides]
    values = [value for value in values if value > 0]  # a net may have no weights
    values += [1.0] if axis.unity or not values else []
    low, high = min(values), max(values)
    ends = [end for point in points for end in (point.low, point.high) if end]
    low, high = max(min([low, *ends]), low / 2), min(max([high, *ends]), high * 2)
    stretch = max(math.sqrt(_LEAST_FACTOR / (high / low)), (high / low) ** 0.05)
    return Frame(tuple(depths), low / stretch, high * stretch)


def _guide_start(panel: Panel, axis: Axis) -> tuple[int, float]:
    """Return from where the guides fan out: the first series' value at the shallowest depth.

    A net of L equal steps in a row can gain L at most, so guides of a speed-up start at L. Both
    are 0 where there is no point.
    """
    starts = [series.points[0] for series in panel.series if series.points]
    if not starts:
        return 0, 0.0
    first = min(starts, key=lambda point: point.depth)
    return first.depth, float(first.depth) if axis.unity else first.value


def depth_ticks(depths: Sequence[int], width: float) -> list[int]:
    """Return the depths that get a label: all, or as many as fit from the deepest, the last, down.

    ``width`` is that of the axis in points.
    """
    octave = width / max(math.log2(depths[-1] / depths[0]), 1.0)
    ticks = [depths[-1]]
    for depth in reversed(depths[:-1]):
        if math.log2(ticks[-1] / depth) * octave >= _TICK_GAP + 2.5 * len(str(depth)):
            ticks.append(depth)
    return ticks[::-1]


def _draw(panel: Panel, axis: Axis, limits: Frame, looks: Mapping[str, Look]) -> Figure:
    lossy = [series for series in panel.series if series.lost]
    height = _BOTTOM + _PLOT + _LOST_ROW * len(lossy) + _TOP
    figure, axes = plot(_WIDTH, height, _LEFT, _BOTTOM, _RIGHT, height - _BOTTOM - _PLOT)
    _set_scales(axes, axis, limits)
    deepest = limits.depths[-1]
    for series in panel.series:
        if axis.margin and series.points:
            look, first = looks[series.curve.label], series.points[0]
            low, high = first.value / (1 + axis.margin), first.value * (1 + axis.margin)
            corners = (first.depth, first.depth, deepest, deepest), (low, high, high, low)
            axes.fill(*corners, color=look.colour, alpha=0.1, linewidth=0, gid=look.gid)
    depth, start = _guide_start(panel, axis)
    if 0 < start < limits.high and deepest > depth:
        for exponent, label in axis.guides.items():
            _guide(axes, exponent, label, (depth, start), limits)
    for sizes in panel.weights:
        axes.plot(list(sizes), list(sizes.values()), color=MUTED, linewidth=1, linestyle=":")
    for series in panel.series:
        _series(axes, series, looks[series.curve.label])
    for row, series in enumerate(lossy):
        above = 1 + (row + 0.7) * _LOST_ROW / _PLOT
        _lost(axes, series, looks[series.curve.label], above, limits)
    return figure


def _set_scales(axes: Axes, axis: Axis, limits: Frame) -> None:
    depths, width = limits.depths, _WIDTH - _LEFT - _RIGHT
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    pad = max(0.04 * math.log2(depths[-1] / depths[0]), 0.12) if len(depths) > 1 else 1.0
    axes.set(xlim=(depths[0] / 2**pad, depths[-1] * 2**pad), ylim=(limits.low, limits.high))
    axes.set(xlabel="depth L (blocks in the net)", ylabel=axis.label)
    axes.yaxis.set_label_coords(-(_LEFT - 9) / width, 0.5)
    axes.set_xticks(depth_ticks(depths, width))
    decades = math.log10(limits.high / limits.low)
    subs = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0, 3.0) if decades < 3.5 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda depth, _: f"{depth:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    level = [((0, y), (1, y)) for y in axes.get_yticks() if limits.low <= y <= limits.high]
    across = axes.get_yaxis_transform()
    segments(axes, level, color=GRID, linewidth=0.7, clip_on=False, transform=across)
    sns.despine(ax=axes, left=True)
    if axis.unity:
        axes.axhline(1, color=MUTED, linewidth=0.9)
    if axis.upright and depths[0] <= axis.upright < depths[-1]:
        axes.axvline(axis.upright * 2**0.5, color=MUTED, linewidth=1, linestyle=":")


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
    points = series.points
    if not points:
        return
    blocks = [((p.depth / 1.05, y), (p.depth * 1.05, y)) for p in points for y in p.blocks]
    segments(axes, blocks, color=look.colour, linewidth=0.8, alpha=0.5, gid=look.gid)
    bars = [((p.depth, p.low), (p.depth, p.high)) for p in points if p.low and p.high]
    segments(axes, bars, color=look.colour, linewidth=1.1, gid=look.gid)
    # What was measured are points; what is thought of them is the line, if anything is.
    places = [(point.depth, point.value) for point in points]
    line = zip(*(series.model or places), strict=True)
    axes.plot(
        *line, color=look.colour, linewidth=1.6, linestyle=look.dash, clip_on=False, gid=look.gid
    )
    gid = f"data-points={look.number}"
    axes.plot(*zip(*places, strict=True), linestyle="none", gid=gid, **look.points)


def _lost(axes: Axes, series: Series, look: Look, height: float, limits: Frame) -> None:
    """Mark the depths without a value above the plot, with their status."""
    across, lost = axes.get_xaxis_transform(), sorted(series.lost)
    crosses = replace(look, marker="x", filled=True).points
    crosses |= {"markeredgewidth": 1.5, "gid": look.gid}
    axes.plot(lost, [height] * len(lost), transform=across, linestyle="none", **crosses)
    deeper = dict(pairwise(limits.depths))
    for depth in lost:
        status = series.lost[depth]
        # The last of neighbours with the same fate speaks for them.
        if series.lost.get(deeper.get(depth, 0)) != status:
            at = depth, height
            write(axes, status, at, (5, 0), xycoords=across, fontsize=9, gid=look.gid)
