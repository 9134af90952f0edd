"""The figure of one benchmark over commits: blocks, values, levels, and where it changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from paraformer_bench.history.changes import IMPROVEMENT, REGRESSION, Track
from paraformer_bench.history.commits import Commit
from paraformer_bench.report.figures.style import GRID, INK, MUTED, PAPER, plot, segments
from paraformer_bench.study.words import short

# All in points.
_WIDTH, _HEIGHT = 420.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 20.0, 62.0
_VALUE = "#0068b0"
_MARKS = {REGRESSION: ("#c44e00", "v"), IMPROVEMENT: ("#008060", "^")}
_LEAST_FACTOR = 1.15
"""Least ratio of the ends of the y axis: noise of a percent must look like it."""
_TICK_GAP = 14.0
_MOST_BESIDE = 0.3
"""An overrun machine makes times many times as long: what is this far off is not drawn."""
_APART = 0.01
"""Share by which a value must differ from the measured one for both to be drawn."""


def draw(
    track: Track, commits: Sequence[Commit], verdicts: Mapping[str, str], scale: float, label: str
) -> Figure:
    """Draw one benchmark; call it within `style.drawing`.

    Args:
        track: The benchmark.
        commits: All commits, one a place on the x axis.
        verdicts: Hash of a commit at which it changed -> the verdict.
        scale: Factor from the benchmark's unit to the axis's.
        label: Of the y axis.
    """
    figure, axes = plot(_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _RIGHT, _TOP)
    places = {commit.hash: place for place, commit in enumerate(commits)}
    at = [places[commit.hash] for commit in track.commits]
    values = [value * scale for value in track.values]
    _marks(axes, {places[commit]: verdict for commit, verdict in verdicts.items()})
    dashes = [
        ((place - 0.22, block * scale), (place + 0.22, block * scale))
        for place, blocks in zip(at, track.blocks, strict=True)
        for block in blocks
    ]
    segments(axes, dashes, color=_VALUE, linewidth=0.8, alpha=0.4)
    measured = [
        (place, value * scale)
        for place, value, told in zip(at, track.measured, track.values, strict=True)
        if abs(value - told) > _APART * abs(told)
    ]
    axes.plot(
        [place for place, _ in measured],
        [value for _, value in measured],
        linestyle="none",
        marker="o",
        markersize=3.5,
        markerfacecolor=PAPER,
        markeredgecolor=MUTED,
        markeredgewidth=0.9,
    )
    segments(axes, _levels(at, [v * scale for v in track.levels]), color=INK, linewidth=1.4)
    axes.plot(at, values, linestyle="none", marker="o", markersize=4, color=_VALUE)
    span = max(max(values) - min(values), _MOST_BESIDE * max(map(abs, values)))
    near = [v for _, v in measured if min(values) - span <= v <= max(values) + span]
    _frame(axes, values + near, commits, label)
    return figure


def _marks(axes: Axes, verdicts: Mapping[int, str]) -> None:
    for place, verdict in verdicts.items():
        colour, marker = _MARKS.get(verdict, (MUTED, "d"))
        axes.axvline(place - 0.5, color=colour, linewidth=1, linestyle=(0, (2, 2)))
        axes.plot(
            [place - 0.5],
            [1.05],
            transform=axes.get_xaxis_transform(),
            color=colour,
            marker=marker,
            markersize=6,
            clip_on=False,
        )


def _levels(
    at: Sequence[int], levels: Sequence[float]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """One line a level, from half a commit before its first to half a commit after its last."""
    strokes: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for place, level in zip(at, levels, strict=True):
        if strokes and strokes[-1][0][1] == level:
            strokes[-1] = (strokes[-1][0], (place + 0.4, level))
        else:
            strokes.append(((place - 0.4, level), (place + 0.4, level)))
    return strokes


def _frame(axes: Axes, values: Sequence[float], commits: Sequence[Commit], label: str) -> None:
    low, high = min(values), max(values)
    middle, half = (low + high) / 2, (high - low) / 2
    half = max(half * 1.25, abs(middle) * (_LEAST_FACTOR - 1) / 2, 1e-12)
    axes.set_ylim(middle - half, middle + half)
    axes.set_xlim(-0.7, len(commits) - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    step = math.ceil(_TICK_GAP * len(commits) / (_WIDTH - _LEFT - _RIGHT))
    ticks = list(range(len(commits) - 1, -1, -step))
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    names = {place: commits[place].short for place in ticks}
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: names.get(round(place), "")))
    axes.tick_params(axis="x", labelrotation=90, labelsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_ylabel(label)
    axes.yaxis.set_label_coords(-(_LEFT - 9) / (_WIDTH - _LEFT - _RIGHT), 0.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def words(track: Track, scale: float, label: str) -> str:
    """Say what is to be seen, for those who cannot see it."""
    told = [f"{short(track.levels[0] * scale)} at {track.commits[0].short}"]
    for commit, before, after in zip(
        track.commits[1:], track.levels, track.levels[1:], strict=False
    ):
        if before != after:
            told.append(f"{short(after * scale)} from {commit.short}")
    return f"{label}: {', '.join(told)}."
