"""The picture of memory over a step: what is in use above what was at its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from paraformer_bench.report.draw import segments
from paraformer_bench.report.series import Line
from paraformer_bench.report.style import GRID, Look
from paraformer_bench.report.time_axis import LEFT, PLOT_WIDTH, WIDTH, set_time_axis
from paraformer_bench.report.units import MIB

# All in points.
_PLOT, _TOP, _BOTTOM = 130.0, 8.0, 38.0

Values: TypeAlias = npt.NDArray[np.float64]

MOST_POINTS = 800
"""Of a curve; beyond it each column shows its highest value, and at its end the last one."""


@dataclass(frozen=True)
class Curve:
    """Bytes in use after each allocation and release of a step.

    Attributes:
        line: Who.
        memory: `timeline.memory.live_bytes`.
        end: Seconds at which the step ended.
    """

    line: Line
    memory: pd.DataFrame
    end: float

    @property
    def peak(self) -> float:
        """The most bytes in use."""
        return float(self.memory["live_bytes"].max())


def draw(curves: Sequence[Curve], seconds: float, looks: Mapping[Line, Look]) -> Figure:
    """Draw one curve a method; call it within `style.drawing`."""
    height = _TOP + _PLOT + _BOTTOM
    figure = Figure(figsize=(WIDTH / 72, height / 72))
    size = (PLOT_WIDTH / WIDTH, _PLOT / height)
    axes = figure.add_axes((LEFT / WIDTH, _BOTTOM / height, *size))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    set_time_axis(axes, seconds)
    lowest = min(0.0, *(float(curve.memory["live_bytes"].min()) for curve in curves)) * MIB
    highest = max(max(curve.peak for curve in curves) * MIB, 1e-3)
    axes.set_ylim(lowest * 1.05, highest * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_ylabel("live memory (MiB)")
    axes.yaxis.set_label_coords(-(LEFT - 16) / PLOT_WIDTH, 0.5)
    low, high = axes.get_ylim()
    rules = [y for y in axes.yaxis.get_majorticklocs() if low <= y <= high]
    level = [((0, y), (1, y)) for y in rules]
    segments(axes, level, color=GRID, linewidth=0.7, transform=axes.get_yaxis_transform())
    for curve in curves:
        look = looks[curve.line]
        times, levels = _steps(curve, seconds)
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


def _steps(curve: Curve, seconds: float) -> tuple[Values, Values]:
    """Return the corners of a curve from 0 to the end of its step, at most `MOST_POINTS`."""
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
