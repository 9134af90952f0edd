"""The figure of a comparison: one ratio with its interval a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from paraformer_bench.analysis.compare import FASTER, SAME, SLOWER, Contrast
from paraformer_bench.report.figures.style import GRID, INK, MUTED, PAPER, plot, write

# All in points.
_WIDTH, _ROW, _TOP, _BOTTOM = 720.0, 17.0, 6.0, 34.0
_LABELS, _RIGHT = 250.0, 16.0
_MARKS = {SLOWER: ("#c44e00", ">"), FASTER: ("#0068b0", "<"), SAME: (INK, "o")}
_OTHER = (MUTED, "s")
_WIDEST = 4.0
"""Intervals are cut off beyond this ratio: one hopeless case must not flatten all others."""


def limits_of(contrasts: Sequence[Contrast], threshold: float) -> tuple[float, float]:
    """Return the ends of an axis that holds every estimate and, up to a limit, every interval."""
    ends = [1 / (1 + threshold), 1 + threshold]
    bounds = [bound for c in contrasts for bound in (c.low, c.high) if bound is not None]
    ends += [min(max(bound, 1 / _WIDEST), _WIDEST) for bound in bounds]
    ends += [c.ratio for c in contrasts if c.ratio is not None]
    return min(ends) / 1.02, max(ends) * 1.02


def draw(
    rows: Sequence[tuple[str, Contrast]],
    letter: str,
    threshold: float,
    limits: tuple[float, float],
) -> Figure:
    """Draw one group of cases, from top to bottom; call it within `style.drawing`."""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    figure, axes = plot(_WIDTH, height, _LABELS, _BOTTOM, _RIGHT, _TOP)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.axvspan(1 / (1 + threshold), 1 + threshold, color=GRID, alpha=0.5, linewidth=0)
    axes.axvline(1, color=MUTED, linewidth=0.9)
    for place, (label, contrast) in enumerate(rows):
        colour, marker = _MARKS.get(contrast.verdict, _OTHER)
        if contrast.low is not None and contrast.high is not None:
            axes.plot((contrast.low, contrast.high), (place, place), color=colour, linewidth=1.3)
        if contrast.ratio is not None:
            face = colour if contrast.verdict in _MARKS else PAPER
            look: dict[str, Any] = {"markersize": 5.5, "markerfacecolor": face}
            axes.plot([contrast.ratio], [place], color=colour, marker=marker, **look)
        write(axes, label, (0, place), (2 - _LABELS, 0), xycoords=axes.get_yaxis_transform())
    narrow = limits[1] / limits[0] < 2
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=6, steps=[1, 2, 5, 10]) if narrow else LogLocator(subs=(1.0, 2.0, 5.0))
    )
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.4g}×")
    axes.set_yticks([])
    sns.despine(ax=axes, left=True)
    axes.set_xlabel(f"time in {letter} over time in A")
    return figure
