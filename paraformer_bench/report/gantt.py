"""The picture of timelines: one above the other on one axis of time, coloured by kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paraformer_bench.report.draw import segments
from paraformer_bench.report.lanes import JOIN, TOGETHER, Lane, Part
from paraformer_bench.report.style import GRID, INK, MUTED
from paraformer_bench.report.time_axis import LEFT, PLOT_WIDTH, WIDTH, set_time_axis
from paraformer_bench.timeline.kinds import (
    ATTENTION,
    COPY,
    ELEMENTWISE,
    NORM,
    OTHER,
    PRODUCT,
    REDUCTION,
)

COLOURS = {
    PRODUCT: "#0068b0",
    ATTENTION: "#c44e00",
    NORM: "#008060",
    ELEMENTWISE: "#a8478a",
    REDUCTION: "#8a6100",
    COPY: "#0a8296",
    OTHER: "#4b5563",
}

# All in points.
_TITLE, _TICKS, _STRIP, _BAR, _GAP = 19.0, 8.0, 14.0, 17.0, 14.0
_NARROW, _NARROW_BAR = 11.0, 7.0
_TOP, _BOTTOM = 2.0, 40.0
_DIGIT = 6.5

RESOLUTION = 0.4
"""Points that nobody can tell apart."""


@dataclass(frozen=True)
class Row:
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


def draw(rows: Sequence[Row], seconds: float) -> Figure:
    """Draw timelines from top to bottom; call it within `style.drawing`.

    Args:
        rows: The first one is what the others are compared with: a line marks its end in them.
        seconds: Length of the axis.
    """
    height = _TOP + sum(map(_height, rows)) + _BOTTOM
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    plot = (height - _TOP - _BOTTOM) / height
    axes = figure.add_axes((LEFT / WIDTH, _BOTTOM / height, PLOT_WIDTH / WIDTH, plot))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    set_time_axis(axes, seconds)
    axes.set_ylim(height - _TOP - _BOTTOM, 0)
    axes.set_yticks([])
    if len(rows) > 1:
        _mark_end(axes, rows)
    top = 0.0
    for row in rows:
        _row(axes, row, top, seconds)
        top += _height(row)
    return figure


def _mark_end(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw an upright line through the other rows where the first one ends, past words."""
    top, ends = _height(rows[0]), []
    for row in rows[1:]:
        bottom = top + _height(row)
        ends.append(((rows[0].end, top + _TITLE - 3), (rows[0].end, bottom - 2)))
        top = bottom
    segments(axes, ends, color=MUTED, linewidth=1, linestyle=":")


def swatch(kind: str) -> Figure:
    """Draw the colour of a kind for a legend."""
    figure = Figure(figsize=(34 / 72, 12 / 72))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    figure.patch.set_visible(False)
    axes.set(xlim=(0, 34), ylim=(0, 12))
    axes.plot([3, 31], [6, 6], color=COLOURS[kind], linewidth=9)
    return figure


def _height(row: Row) -> float:
    ticks = _TICKS if row.launches else 0.0
    lanes = _STRIP + _BAR if len(row.lanes) == 1 else _NARROW * len(row.lanes)
    return _TITLE + ticks + lanes + _GAP


def _row(axes: Axes, row: Row, top: float, seconds: float) -> None:
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


def _strip(axes: Axes, parts: Sequence[Part], y: float, seconds: float) -> None:
    """Draw the parts of the net above their operations, with as many numbers as there is room."""
    point = seconds / PLOT_WIDTH
    wide = [part for part in parts if part.end - part.start > 2 * point and part.what != JOIN]
    ends = [((part.start + 0.6 * point, y), (part.end - 0.6 * point, y)) for part in wide]
    segments(axes, ends, color=GRID, linewidth=_STRIP - 3, clip_on=False)
    named = [part for part in wide if part.number >= 0]
    every = _every(named, point)
    if named:
        _margin(axes, named[0].what, y)
    for part in wide:
        text = TOGETHER if part.what == TOGETHER else str(part.number)
        middle, align = (part.start + part.end) / 2, "center"
        if part.number >= 0 and part.number % every:
            continue
        if part.number < 0 and not _fits(text, part, point):
            if part is not wide[-1]:
                continue
            middle, align = part.end + 4 * point, "left"
        axes.text(middle, y, text, ha=align, va="center", color=INK)


def _margin(axes: Axes, text: str, y: float) -> None:
    """Say in the margin what the numbers are."""
    axes.text(
        -(LEFT - 4) / PLOT_WIDTH,
        y,
        text,
        transform=axes.get_yaxis_transform(),
        ha="left",
        va="center",
        color=MUTED,
    )


def _every(parts: Sequence[Part], point: float) -> int:
    """Return of how many numbers one is written so that most of them have room."""
    if not parts:
        return 1
    widths = sorted((part.end - part.start) / point for part in parts)
    needed = 2 * _DIGIT + 2
    return math.ceil(needed / max(widths[len(widths) // 2], 1))


def _fits(text: str, part: Part, point: float) -> bool:
    return len(text) * _DIGIT <= (part.end - part.start) / point


def _numbers(axes: Axes, parts: Sequence[Part], y: float, seconds: float) -> None:
    """Write the number of a branch to the left of its first operation, where there is room."""
    point = seconds / PLOT_WIDTH
    free = -LEFT * point
    for part in parts:
        if part.what == JOIN:
            free = part.end
            continue
        text = TOGETHER if part.what == TOGETHER else str(part.number)
        if part.start - free > (len(text) * _DIGIT + 3) * point:
            axes.text(
                part.start - 2 * point,
                y,
                text,
                ha="right",
                va="center",
                color=INK,
            )
        free = part.end
