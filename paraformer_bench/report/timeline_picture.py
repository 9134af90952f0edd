"""The drawings of the timelines of one depth, and their legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from paraformer_bench.report import draw, gantt, live_memory, style, svg, units
from paraformer_bench.report.lanes import lanes
from paraformer_bench.report.series import Line
from paraformer_bench.report.style import Look
from paraformer_bench.report.time_axis import PLOT_WIDTH
from paraformer_bench.report.traces import Traced
from paraformer_bench.timeline.metrics import View
from paraformer_bench.timeline.timeline import INCOMPLETE, Timeline

READABLE = 16
"""Deepest net whose picture shows every operation; it is preferred where there is a choice."""

Legend = list[tuple[str, Markup]]


@dataclass(frozen=True)
class Picture:
    """Drawings of timelines.

    Attributes:
        depth: Of all of them.
        gantt: What ran when.
        kinds: Name and swatch of every colour in it.
        exact: Every operation is drawn where it was.
        launches: It shows the launches of a GPU's operations.
        memory: Live bytes over the step; None where no trace tells them.
        lines: Name and swatch of every curve of the memory.
    """

    depth: int
    gantt: Markup
    kinds: Legend
    exact: bool
    launches: bool
    memory: Markup | None
    lines: Legend

    @property
    def size(self) -> int:
        """Bytes of the page."""
        swatches = [drawing for _, drawing in (*self.kinds, *self.lines)]
        return sum(len(one.encode()) for one in (self.gantt, self.memory or "", *swatches))


def picture(
    name: str,
    held: Sequence[tuple[Line, Traced]],
    what: str,
    looks: Mapping[Line, Look],
) -> Picture | None:
    """Draw the timelines of the depth that shows most.

    Args:
        name: Start of every id, unique in the page.
        held: Timelines of one regime; the serial net's first.
        what: Words for the regime.
        looks: Of every line.

    Returns:
        None where every trace is incomplete.
    """
    whole = [(line, one) for line, one in held if one.view.timeline.kind != INCOMPLETE]
    if not whole:
        return None
    depth = _depth([one.case.depth for _, one in whole])
    drawn = [(line, one.view) for line, one in whole if one.case.depth == depth]
    seconds = 1.02 * max(_end(view) for _, view in drawn)
    rows = [_row(line, view, seconds) for line, view in drawn]
    kinds = [k for k in gantt.COLOURS if any(k in row.kinds for row in rows)]
    curves = [
        live_memory.Curve(line, view.memory, _end(view))
        for line, view in drawn
        if not view.memory.empty
    ]
    title = f"Timelines at depth {depth}: {what}"
    with style.drawing():
        chart = svg.to_svg(gantt.draw(rows, seconds), name, title, _describe(rows))
        swatches = [
            (kind, svg.to_svg(gantt.swatch(kind), f"{name}-kind-{number}", kind, "legend"))
            for number, kind in enumerate(kinds, start=1)
        ]
        memory, lines = _memory(name, curves, seconds, what, looks)
    return Picture(
        depth,
        chart,
        swatches,
        all(lane.exact for row in rows for lane in row.lanes),
        any(row.launches for row in rows),
        memory,
        lines,
    )


def _depth(depths: Sequence[int]) -> int:
    """Return the depth with the most timelines: a deep one, but one that can be read."""
    most = max(map(depths.count, depths))
    candidates = sorted({depth for depth in depths if depths.count(depth) == most})
    readable = [depth for depth in candidates[1:] if depth <= READABLE]
    return readable[-1] if readable else candidates[-1]


def _end(view: View) -> float:
    """Seconds at which everything of the step has ended."""
    return float(view.operations["end_seconds"].max())


def _row(line: Line, view: View, seconds: float) -> gantt.Row:
    launches: list[float] = []
    if view.timeline.on_gpu:
        launched = view.operations[view.operations["correlation"] != 0]
        launches = sorted(set(launched["launch_seconds"].tolist()))
    resolution = gantt.RESOLUTION * seconds / PLOT_WIDTH
    held = lanes(view.operations, resolution)
    return gantt.Row(line.label, _detail(view.timeline, _end(view)), held, launches)


def _detail(timeline: Timeline, end: float) -> str:
    what = "kernel" if timeline.on_gpu else "operation"
    number = timeline.kernels if timeline.on_gpu else timeline.operations
    words = f"{units.count(number or 0, what)} in {units.time(end)}"
    if timeline.graph:
        return f"{words}, replays of a CUDA graph"
    return f"{words} on {units.count(timeline.streams, 'stream')}" if timeline.streams else words


def _describe(rows: Sequence[gantt.Row]) -> str:
    return ". ".join(f"{row.label}: {row.detail}" for row in rows) + "."


def _memory(
    name: str,
    curves: Sequence[live_memory.Curve],
    seconds: float,
    what: str,
    looks: Mapping[Line, Look],
) -> tuple[Markup | None, Legend]:
    if not curves:
        return None, []
    words = ". ".join(
        f"{curve.line.label}: at most {units.short(curve.peak * units.MIB)} MiB"
        for curve in curves
    )
    drawing = svg.to_svg(
        live_memory.draw(curves, seconds, looks),
        f"{name}-memory",
        f"Live memory over one call: {what}",
        f"{words}.",
    )
    lines = []
    for number, curve in enumerate(curves, start=1):
        look = replace(looks[curve.line], marker="")
        swatch = draw.swatch(look)
        lines.append(
            (
                curve.line.label,
                svg.to_svg(swatch, f"{name}-line-{number}", look.words.split(",")[0], "legend"),
            )
        )
    return drawing, lines
