"""How figures look: one palette for light and dark, a stable look for every method, bare axes.

Figures are drawn once, in the light colours; `svg.to_svg` turns each of these into a CSS variable
so that the same SVG suits a dark page. Colour is never alone: markers and dashes differ too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paraformer_bench.study.case import Curve

INK, MUTED, GRID, PAPER = "#1c2330", "#616b7c", "#e2e6ec", "#ffffff"

# Okabe and Ito's hues (jfly.uni-koeln.de/color), each set to 3:1 or more against its background.
_SERIES = (
    ("#4b5563", "#c3cad6"),  # serial: the reference is a grey
    ("#c44e00", "#ff8f4a"),
    ("#0068b0", "#5db6ff"),
    ("#008060", "#3ecf9f"),
    ("#a8478a", "#f09ad2"),
    ("#8a6100", "#e2b93b"),
    ("#5b4fc4", "#a9a0ff"),
    ("#0a8296", "#4fd3e6"),
    ("#9a3a3a", "#ff9c9c"),
)
THEME: dict[str, tuple[str, str]] = {
    "ink": (INK, "#e8ebf1"),
    "muted": (MUTED, "#a0a9b8"),
    "grid": (GRID, "#333b49"),
    "paper": (PAPER, "#14181f"),
    "wash": ("#f5f7fa", "#1b212b"),
    "link": ("#0059a8", "#7cc0ff"),
    "constant": ("#00629f", "#6cbcff"),
    "grows": ("#b04400", "#ff9a5c"),
    "open": ("#5d6675", "#b3bbc8"),
    **{f"s{slot}": pair for slot, pair in enumerate(_SERIES)},
}
"""CSS variable -> its colour on a light and on a dark page."""

VARIABLES = {light: f"var(--{name})" for name, (light, _) in THEME.items()}
"""Colour in a drawn figure -> the CSS variable that replaces it."""

_MARKERS = {
    "o": "circles",
    "s": "squares",
    "^": "triangles",
    "D": "diamonds",
    "v": "inverted triangles",
    "P": "plus signs",
    "X": "crosses",
    "<": "left triangles",
    ">": "right triangles",
}
_DASHES = {"eager": ("-", "solid"), "graph": ("--", "dashed"), "compile": ("-.", "dash-dotted")}
_HOUSE = (
    ("serial", "loop", 1, 1),
    ("paraformer", "loop", 1, 1),
    ("paraformer", "stacked", 1, 1),
    ("paraformer", "streams", 1, 1),
    ("paraformer", "vmap", 1, 1),
    ("paraformer_code", "loop", 1, 1),
    ("paraformer", "sharded", 1, 1),
)
"""What keeps its colour: model, execution, branch depth and devices."""


@dataclass(frozen=True)
class Look:
    """How the curve of one method is drawn, by Matplotlib's names.

    Attributes:
        colour: Light colour; its CSS variable stands in the page.
        filled: The marker is filled; hollow where the runtime is not ``eager``.
        words: The same for those who cannot see it.
        number: Among those of the page: elements about a curve say it (``data-line``).
    """

    colour: str
    marker: str
    dash: str
    filled: bool
    words: str
    number: int = 0

    @property
    def gid(self) -> str:
        """Of all that belongs to the curve; `svg.to_svg` makes an attribute of it."""
        return f"data-line={self.number}"

    @property
    def points(self) -> dict[str, Any]:
        """How its points are drawn."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": 5,
            "markerfacecolor": self.colour if self.filled else PAPER,
            "markeredgewidth": 1.3,
            "clip_on": False,
        }


def looks(curves: Iterable[Curve]) -> dict[str, Look]:
    """Return a look for every curve of a page by its label, which it shares with its like.

    Models and executions of the house keep theirs from page to page; others take what is left, in
    the order of their names. Once the colours are used up they come again with other markers.
    Dashes tell the runtime.
    """
    lines = {curve.label: curve for curve in sorted(curves, key=lambda curve: curve.sort_key[1:])}
    kinds = dict.fromkeys(map(_kind, lines.values()))
    slots = {kind: slot for slot, kind in enumerate(_HOUSE) if kind in kinds}
    free = [slot for slot in reversed(range(len(_SERIES))) if slot not in slots.values()]
    # A slot beyond the last colour is that colour again: slot modulo colours, the turn above it.
    every = [*free, *range(len(_SERIES), len(_SERIES) * len(_MARKERS))]
    for number, kind in enumerate(kind for kind in kinds if kind not in slots):
        slots[kind] = every[number % len(every)]
    return {
        label: _look(slots[_kind(curve)], curve.method.runtime, number)
        for number, (label, curve) in enumerate(lines.items())
    }


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's settings for every figure: deterministic SVG with real text in it."""
    settings: Any = sns.axes_style("ticks") | {
        "svg.fonttype": "none",
        "svg.hashsalt": "paraformer_bench",
        "path.simplify": False,
        "lines.solid_capstyle": "butt",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10.0,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.major.size": 0.0,
        "ytick.major.size": 0.0,
        "text.parse_math": False,
    }
    with mpl.rc_context(settings):
        yield


def plot(
    width: float,
    height: float,
    left: float = 0,
    bottom: float = 0,
    right: float = 0,
    top: float = 0,
) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes: size and margins in points, nothing behind them."""
    figure = Figure(figsize=(width / 72, height / 72))
    size = ((width - left - right) / width, (height - bottom - top) / height)
    axes = figure.add_axes((left / width, bottom / height, *size))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes


def swatch(margin: float = 1, points: Mapping[str, Any] | None = None, **line: Any) -> Figure:
    """Draw a line as a legend shows it, with a point in its middle if it has any."""
    figure, axes = plot(34, 12)
    axes.set_axis_off()
    axes.set(xlim=(0, 34), ylim=(0, 12))
    axes.plot((margin, 34 - margin), (6, 6), **line)
    if points:
        axes.plot([17], [6], **points)
    return figure


def write(
    axes: Axes, text: str, at: tuple[float, float], by: tuple[float, float], **look: Any
) -> None:
    """Write text so many points beside a place, even outside of the axes."""
    usual: dict[str, Any] = {"va": "center", "ha": "left", "color": INK, "annotation_clip": False}
    axes.annotate(text, at, xytext=by, textcoords="offset points", **(usual | look))


def segments(
    axes: Axes, ends: Iterable[tuple[tuple[float, float], tuple[float, float]]], **look: Any
) -> None:
    """Draw short lines as one path: a path each would make the page ten times as large."""
    parted = [point for pair in ends for point in (*pair, (math.nan, math.nan))]
    if parted:
        axes.plot(*zip(*parted, strict=True), **look)


def _kind(curve: Curve) -> tuple[str, str, int, int]:
    """What a colour and a marker stand for."""
    method = curve.method
    return method.model, method.execution, curve.regime.branch_depth, method.devices


def _look(slot: int, runtime: str, number: int) -> Look:
    dash, dash_words = _DASHES.get(runtime, (":", "dotted"))
    turn, colour = divmod(slot, len(_SERIES))
    marker, filled = list(_MARKERS)[(colour + turn) % len(_MARKERS)], runtime == "eager"
    words = f"{dash_words} line, {'filled' if filled else 'hollow'} {_MARKERS[marker]}"
    return Look(_SERIES[colour][0], marker, dash, filled, words, number)
