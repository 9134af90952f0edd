"""The picture of timelines: one above the other on one axis of time, and the memory they hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from paraformer_bench.report.figures import chart, style, svg
from paraformer_bench.report.figures.lanes import JOIN, TOGETHER, Lane, Stretch, lanes
from paraformer_bench.report.figures.style import GRID, INK, MUTED, Look, plot, segments
from paraformer_bench.report.html import Swatches
from paraformer_bench.report.traces import Traced
from paraformer_bench.study.case import SERIAL, Curve
from paraformer_bench.study.words import MIB, count, printable, short, time
from paraformer_bench.timeline.kinds import (
    ATTENTION,
    COPY,
    ELEMENTWISE,
    NORM,
    OTHER,
    PRODUCT,
    REDUCTION,
)
from paraformer_bench.timeline.metrics import View
from paraformer_bench.timeline.timeline import INCOMPLETE

COLOURS = {
    PRODUCT: "#0068b0",
    ATTENTION: "#c44e00",
    NORM: "#008060",
    ELEMENTWISE: "#a8478a",
    REDUCTION: "#8a6100",
    COPY: "#0a8296",
    OTHER: "#4b5563",
}

READABLE = 16
"""Deepest net whose picture shows every operation; it is preferred where there is a choice."""

MOST_POINTS = 800
"""Of a curve of memory; beyond it a column shows its highest value, and at its end the last."""

# All in points.
_WIDTH, _LEFT, _RIGHT = 930.0, 62.0, 12.0
PLOT_WIDTH = _WIDTH - _LEFT - _RIGHT
_TITLE, _TICKS, _STRIP, _BAR, _GAP = 19.0, 8.0, 14.0, 17.0, 14.0
_NARROW, _NARROW_BAR = 11.0, 7.0
_TOP, _BOTTOM = 2.0, 40.0
_DIGIT = 6.5
_MEMORY, _MEMORY_TOP, _MEMORY_BOTTOM = 130.0, 8.0, 38.0
_RESOLUTION = 0.4
"""That nobody can tell apart."""

_LONGEST = 70
"""Characters of a label that fit above its timeline."""

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """Drawings of the timelines of one depth.

    Attributes:
        depth: Of all of them.
        rows: What ran when: one a timeline.
        gantt: The drawing of these.
        kinds: Of the colours in it.
        left_out: Labels of the curves that have no whole timeline of this depth.
        memory: Live bytes over the step; None where no trace tells them.
        curves: Legend of the memory.
    """

    depth: int
    rows: list[GanttRow]
    gantt: Markup
    kinds: Swatches
    left_out: list[str]
    memory: Markup | None
    curves: Swatches

    @property
    def exact(self) -> bool:
        """Whether every operation is drawn where it was."""
        return all(lane.exact for row in self.rows for lane in row.lanes)

    @property
    def size(self) -> int:
        """Bytes of the page."""
        swatches = [drawing for *_, drawing in (*self.kinds, *self.curves)]
        return sum(len(one.encode()) for one in (self.gantt, self.memory or "", *swatches))


@dataclass(frozen=True)
class GanttRow:
    """One timeline of the picture.

    Attributes:
        label: Who.
        detail: How long its step took and how many operations there were.
        lanes: What ran.
        launches: When the calls that put work on a device returned, in seconds; may be empty.
    """

    label: str
    detail: str
    lanes: list[Lane]
    launches: list[float]

    @property
    def kinds(self) -> set[str]:
        """Kinds of operations in it."""
        return {bar.kind for lane in self.lanes for bar in lane.bars}

    @property
    def end(self) -> float:
        """Seconds at the end of its last operation."""
        return max((bar.end for lane in self.lanes for bar in lane.bars), default=0.0)

    @property
    def height(self) -> float:
        """Points that it takes."""
        ticks = _TICKS if self.launches else 0.0
        lanes = _STRIP + _BAR if len(self.lanes) == 1 else _NARROW * len(self.lanes)
        return _TITLE + ticks + lanes + _GAP


@dataclass(frozen=True)
class MemoryCurve:
    """Bytes in use after each allocation and release of a step.

    Attributes:
        label: Who.
        memory: `timeline.memory.live_bytes`.
        end: Seconds at which the step ended.
    """

    label: str
    memory: pd.DataFrame
    end: float

    @property
    def peak(self) -> float:
        """The most bytes in use."""
        return float(self.memory["live_bytes"].max())


def picture(
    name: str, traced: Sequence[Traced], what: str, looks: Mapping[str, Look]
) -> Picture | None:
    """Draw the timelines of the depth that shows most; null where every trace is incomplete.

    Args:
        name: Start of every id, unique in the page.
        traced: Timelines of one regime; the serial net's first.
        what: Words for the regime.
        looks: Of every curve, by its label.
    """
    whole = [one for one in traced if one.view.timeline.kind != INCOMPLETE]
    if not whole:
        return None
    depth = depth_to_draw([(one.case.model == SERIAL, one.case.depth) for one in whole])
    drawn = [(one.case.curve, _from_zero(one.view)) for one in whole if one.case.depth == depth]
    labels = {curve.label for curve, _ in drawn}
    left_out = dict.fromkeys(one.case.curve.label for one in traced)
    seconds = max(1.02 * max(_end(view) for _, view in drawn), 1e-9)
    rows = [_row(curve, view, seconds) for curve, view in drawn]
    kinds = [kind for kind in COLOURS if any(kind in row.kinds for row in rows)]
    curves = [
        MemoryCurve(curve.label, view.memory, _end(view))
        for curve, view in drawn
        if not view.memory.empty
    ]
    with style.drawing():
        title = f"Timelines at depth {depth}: {what}"
        words = ". ".join(f"{row.label}: {row.detail}" for row in rows)
        gantt = svg.to_svg(draw_gantt(rows, seconds), name, title, f"{words}.")
        swatches = []
        for number, kind in enumerate(kinds, start=1):
            block = style.swatch(3, color=COLOURS[kind], linewidth=9)
            drawing = svg.to_svg(block, f"{name}-kind-{number}", kind, "legend")
            swatches.append((None, kind, drawing))
        memory, legend = _memory(name, curves, seconds, what, looks)
    gone = [label for label in left_out if label not in labels]
    return Picture(depth, rows, gantt, swatches, gone, memory, legend)


def depth_to_draw(timelines: Sequence[tuple[bool, int]]) -> int:
    """Return the depth that is drawn: deep enough to see branches, shallow enough to read.

    Args:
        timelines: Whether each is of the serial net, and its depth.
    """
    depths = [depth for _, depth in timelines]
    deep = {depth for depth in depths if depth > 1} or set(depths)
    several = {depth for depth in deep if depths.count(depth) > 1}
    compared = {depth for serial, depth in timelines if serial and depth in several}
    candidates = sorted(compared or several or deep)
    readable = [depth for depth in candidates if depth <= READABLE]
    return readable[-1] if readable else candidates[0]


def _from_zero(view: View) -> View:
    """Return a view that begins at 0: a device whose clock is off may seem to run before it."""
    early = min(0.0, float(view.operations["start_seconds"].min()))
    if not early:
        return view
    times = ["start_seconds", "end_seconds", "launch_seconds"]
    operations, memory = view.operations.copy(), view.memory.copy()
    operations[times] -= early
    memory["seconds"] -= early
    return view._replace(operations=operations, memory=memory)


def _end(view: View) -> float:
    """Seconds at which everything of the step has ended."""
    ends = [float(view.operations["end_seconds"].max())]
    if not view.memory.empty:
        ends.append(float(view.memory["seconds"].max()))
    return max(ends)


def _row(curve: Curve, view: View, seconds: float) -> GanttRow:
    resolution = _RESOLUTION * seconds / PLOT_WIDTH
    launches: list[float] = []
    if view.timeline.on_gpu:
        launched = view.operations[view.operations["correlation"] != 0]["launch_seconds"]
        places = (launched / (2 * resolution)).round().unique()
        launches = sorted((places * 2 * resolution).tolist())
    held = lanes(view.operations, seconds, resolution)
    label = printable(curve.label)
    label = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
    return GanttRow(label, _detail(view, len(held)), held, launches)


def _detail(view: View, threads: int) -> str:
    timeline = view.timeline
    what = "kernel" if timeline.on_gpu else "operation"
    number = timeline.kernels if timeline.on_gpu else timeline.operations
    end = float(view.operations["end_seconds"].max())
    words = f"{count(number or 0, what)} in {time(end)}"
    if timeline.graph:
        return f"{words}, replays of a CUDA graph"
    if timeline.streams:
        return f"{words} on {count(timeline.streams, 'stream')}"
    return words if threads == 1 else f"{words} on {threads} threads"


def _time_axis(axes: Axes, seconds: float) -> None:
    """Let the x axis go from 0 to ``seconds``, with upright rules at its ticks."""
    size, unit = next(((s, u) for s, u in _UNITS if seconds >= 2 * s), _UNITS[-1])
    axes.set_xlim(0, seconds)
    locator = MaxNLocator(nbins=10, steps=[1, 2, 2.5, 5, 10])
    ticks = [at * size for at in locator.tick_values(0, seconds / size) if at * size <= seconds]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at / size:.10g}"))
    axes.set_xlabel(f"time since the call began ({unit})")
    rules = [((at, 0), (at, 1)) for at in ticks]
    segments(axes, rules, color=GRID, linewidth=0.7, transform=axes.get_xaxis_transform())
    axes.spines[:].set_visible(False)


def draw_gantt(rows: Sequence[GanttRow], seconds: float) -> Figure:
    """Draw timelines from top to bottom; call it within `style.drawing`.

    Args:
        rows: The first one is what the others are compared with: a line marks its end in them.
        seconds: Length of the axis.
    """
    height = sum(row.height for row in rows)
    figure, axes = plot(_WIDTH, _TOP + height + _BOTTOM, _LEFT, _BOTTOM, _RIGHT, _TOP)
    _time_axis(axes, seconds)
    axes.set_ylim(height, 0)
    axes.set_yticks([])
    top, ends = 0.0, []
    for row in rows:
        _draw_row(axes, row, top, seconds)
        if row is not rows[0]:  # past words
            ends.append(((rows[0].end, top + _TITLE - 3), (rows[0].end, top + row.height - 2)))
        top += row.height
    segments(axes, ends, color=MUTED, linewidth=1, linestyle=":")
    return figure


def _draw_row(axes: Axes, row: GanttRow, top: float, seconds: float) -> None:
    across = axes.get_yaxis_transform()
    for x, text, align, colour in (
        (0.0, row.label, "left", INK),
        (1.0, row.detail, "right", MUTED),
    ):
        axes.text(x, top + 13, text, transform=across, ha=align, va="baseline", color=colour)
    top += _TITLE
    if row.launches:
        ticks = [((at, top), (at, top + _TICKS - 3)) for at in row.launches]
        segments(axes, ticks, color=MUTED, linewidth=0.5)
        top += _TICKS
    if len(row.lanes) == 1:
        _strip(axes, row.lanes[0].parts, top + _STRIP / 2, seconds)
        _bars(axes, row.lanes[0], top + _STRIP + _BAR / 2, _BAR)
        return
    if any(part.what == "branch" for lane in row.lanes for part in lane.parts):
        _margin(axes, "branch", top + _NARROW / 2)
    for number, lane in enumerate(row.lanes):
        middle = top + _NARROW * (number + 0.5)
        _bars(axes, lane, middle, _NARROW_BAR)
        _numbers(axes, lane.parts, middle, seconds)


def _bars(axes: Axes, lane: Lane, y: float, height: float) -> None:
    """Draw all bars of one colour as one thick broken line: a shape each takes five times more."""
    for kind, colour in COLOURS.items():
        ends = [((bar.start, y), (bar.end, y)) for bar in lane.bars if bar.kind == kind]
        segments(axes, ends, color=colour, linewidth=height, clip_on=False)


def _strip(axes: Axes, parts: Sequence[Stretch], y: float, seconds: float) -> None:
    """Draw the parts of the net above their operations, with as many numbers as there is room."""
    point = seconds / PLOT_WIDTH
    wide = [part for part in parts if part.end - part.start > 2 * point and part.what != JOIN]
    ends = [((part.start + 0.6 * point, y), (part.end - 0.6 * point, y)) for part in wide]
    segments(axes, ends, color=GRID, linewidth=_STRIP - 3, clip_on=False)
    named = [part for part in wide if part.number >= 0]
    every = 1
    if named:  # of how many numbers one is written, so that most of them have room
        widths = sorted((part.end - part.start) / point for part in named)
        every = math.ceil((2 * _DIGIT + 2) / max(widths[len(widths) // 2], 1))
        _margin(axes, named[0].what, y)
    for part in wide:
        text = TOGETHER if part.what == TOGETHER else str(part.number)
        middle, align = (part.start + part.end) / 2, "center"
        if part.number >= 0 and part.number % every:
            continue
        if part.number < 0 and len(text) * _DIGIT > (part.end - part.start) / point:
            if part is not wide[-1]:
                continue
            middle, align = part.end + 4 * point, "left"
        axes.text(middle, y, text, ha=align, va="center", color=INK)


def _margin(axes: Axes, text: str, y: float) -> None:
    """Say in the margin what the numbers are."""
    place, across = -(_LEFT - 4) / PLOT_WIDTH, axes.get_yaxis_transform()
    axes.text(place, y, text, transform=across, ha="left", va="center", color=MUTED)


def _numbers(axes: Axes, parts: Sequence[Stretch], y: float, seconds: float) -> None:
    """Write the number of a branch to the left of its first operation, where there is room."""
    point = seconds / PLOT_WIDTH
    free = -_LEFT * point
    for part in parts:
        text = TOGETHER if part.what == TOGETHER else str(part.number)
        if part.what != JOIN and part.start - free > (len(text) * _DIGIT + 3) * point:
            axes.text(part.start - 2 * point, y, text, ha="right", va="center", color=INK)
        free = part.end


def _memory(
    name: str, curves: Sequence[MemoryCurve], seconds: float, what: str, looks: Mapping[str, Look]
) -> tuple[Markup | None, Swatches]:
    if not curves:
        return None, []
    words = ". ".join(f"{c.label}: at most {short(c.peak * MIB)} MiB" for c in curves)
    title = f"Live memory over one call: {what}"
    figure = draw_memory(curves, seconds, looks)
    drawing = svg.to_svg(figure, f"{name}-memory", title, f"{words}.")
    entries = []
    for number, curve in enumerate(curves, start=1):
        look = replace(looks[curve.label], marker="")
        dash = look.words.split(",")[0]
        swatch = svg.to_svg(chart.swatch(look), f"{name}-line-{number}", dash, "legend")
        entries.append((None, curve.label, swatch))
    return drawing, entries


def draw_memory(
    curves: Sequence[MemoryCurve], seconds: float, looks: Mapping[str, Look]
) -> Figure:
    """Draw one curve a method; call it within `style.drawing`."""
    height = _MEMORY_TOP + _MEMORY + _MEMORY_BOTTOM
    figure, axes = plot(_WIDTH, height, _LEFT, _MEMORY_BOTTOM, _RIGHT, _MEMORY_TOP)
    _time_axis(axes, seconds)
    low = min(0.0, *(float(curve.memory["live_bytes"].min()) for curve in curves)) * MIB * 1.05
    high = max(max(curve.peak for curve in curves) * MIB, 1e-3) * 1.05
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_ylabel("live memory (MiB)")
    axes.yaxis.set_label_coords(-(_LEFT - 16) / PLOT_WIDTH, 0.5)
    level = [((0, y), (1, y)) for y in axes.yaxis.get_majorticklocs() if low <= y <= high]
    segments(axes, level, color=GRID, linewidth=0.7, transform=axes.get_yaxis_transform())
    for curve in curves:
        look = looks[curve.label]
        times, levels = corners(curve, seconds)
        axes.plot(
            times,
            levels * MIB,
            color=look.colour,
            linewidth=1.5,
            linestyle=look.dash,
            drawstyle="steps-post",
            clip_on=False,
        )
    return figure


def corners(curve: MemoryCurve, seconds: float) -> tuple[Values, Values]:
    """Return the corners of a curve from 0 to the end of its step, about `MOST_POINTS` at most."""
    times: Values = curve.memory["seconds"].to_numpy(dtype=np.float64)
    levels: Values = curve.memory["live_bytes"].to_numpy(dtype=np.float64)
    if len(times) > MOST_POINTS:
        width = 2 * seconds / MOST_POINTS
        columns = (times / width).astype(np.int64)
        firsts = np.flatnonzero(np.append(True, np.diff(columns) > 0))
        lasts = np.append(firsts[1:], len(columns)) - 1
        highest = np.maximum.reduceat(levels, firsts)
        # A peak must not stand until the next change, which may be far away.
        starts = columns[firsts] * width
        times = np.stack([starts, starts + width], axis=1).ravel().astype(np.float64)
        levels = np.stack([highest, levels[lasts]], axis=1).ravel()
    times = np.concatenate(([0.0], times, [max(curve.end, float(times[-1]))]))
    return times, np.concatenate(([0.0], levels, levels[-1:]))
