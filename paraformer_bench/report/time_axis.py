"""A linear axis of time as wide as the page, the same for all pictures of one step."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from paraformer_bench.report.draw import segments
from paraformer_bench.report.style import GRID

# In points.
WIDTH = 930.0
LEFT, RIGHT = 62.0, 12.0
PLOT_WIDTH = WIDTH - LEFT - RIGHT

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def set_time_axis(axes: Axes, seconds: float) -> None:
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
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
