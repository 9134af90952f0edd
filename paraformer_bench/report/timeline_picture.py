"""The drawings of the timelines of one depth, and their legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from paraformer_bench.analysis.words import SERIAL
from paraformer_bench.report import draw, gantt, live_memory, style, svg, units
from paraformer_bench.report.lanes import lanes
from paraformer_bench.report.series import Line
from paraformer_bench.report.style import Look
from paraformer_bench.report.time_axis import PLOT_WIDTH
from paraformer_bench.report.traces import Traced
from paraformer_bench.timeline.metrics import View
from paraformer_bench.timeline.timeline import INCOMPLETE

READABLE = 16
"""Deepest net whose picture shows every operation; it is preferred where there is a choice."""

_LONGEST = 70
"""Characters of a line's name that fit above its timeline."""

Legend = list[tuple[str, Markup]]


@dataclass(frozen=True)
class Picture:
    """Drawings of timelines.

    Attributes:
        depth: Of all of them.
        gantt: What ran when.
        kinds: Name and swatch of every colour in it.
        rows: How many timelines it shows.
        exact: Every operation is drawn where it was.
        launches: It shows the launches of a GPU's operations.
        parts: It names layers or branches.
        left_out: Lines of the regime that have no whole timeline of this depth.
        memory: Live bytes over the step; None where no trace tells them.
        lines: Name and swatch of every curve of the memory.
    """

    depth: int
    gantt: Markup
    kinds: Legend
    rows: int
    exact: bool
    launches: bool
    parts: bool
    left_out: list[str]
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
    depth = _depth([(line.model == SERIAL, one.case.depth) for line, one in whole])
    drawn = [(line, _from_zero(one.view)) for line, one in whole if one.case.depth == depth]
    shown = {line for line, _ in drawn}
    seconds = max(1.02 * max(_end(view) for _, view in drawn), 1e-9)
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
        len(rows),
        all(lane.exact for row in rows for lane in row.lanes),
        any(row.launches for row in rows),
        any(lane.parts for row in rows for lane in row.lanes),
        list(dict.fromkeys(line.label for line, _ in held if line not in shown)),
        memory,
        lines,
    )


def _depth(timelines: Sequence[tuple[bool, int]]) -> int:
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


def _row(line: Line, view: View, seconds: float) -> gantt.Row:
    resolution = gantt.RESOLUTION * seconds / PLOT_WIDTH
    launches: list[float] = []
    if view.timeline.on_gpu:
        launched = view.operations[view.operations["correlation"] != 0]["launch_seconds"]
        places = (launched / (2 * resolution)).round().unique()
        launches = sorted((places * 2 * resolution).tolist())
    held = lanes(view.operations, seconds, resolution)
    return gantt.Row(_short(line.label), _detail(view, len(held)), held, launches)


def _short(label: str) -> str:
    shown = units.printable(label)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _detail(view: View, count: int) -> str:
    timeline = view.timeline
    what = "kernel" if timeline.on_gpu else "operation"
    number = timeline.kernels if timeline.on_gpu else timeline.operations
    end = float(view.operations["end_seconds"].max())
    words = f"{units.count(number or 0, what)} in {units.time(end)}"
    if timeline.graph:
        return f"{words}, replays of a CUDA graph"
    if timeline.streams:
        return f"{words} on {units.count(timeline.streams, 'stream')}"
    return words if count == 1 else f"{words} on {count} threads"


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
