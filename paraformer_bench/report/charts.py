"""The figures of a run page: each is a row of panels, a legend, a note and its data as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from paraformer_bench.analysis.latency_model import DEEPEST_FITTED
from paraformer_bench.analysis.predictions import Prediction
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.report import draw, series, style, svg, units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.scales import Axis, Frame, frames
from paraformer_bench.report.series import Line, Panel, Series
from paraformer_bench.report.style import Look

_LATENCY = (
    "Logarithmic axes: a net whose time does not depend on depth runs level (L⁰), one that does "
    "its blocks one after another rises like L¹. The shaded band is ±{margin} around each "
    "curve's shallowest depth: constant means staying in or below it. Vertical bars are 95% "
    "intervals over blocks, the short faint dashes are the medians of single blocks."
)
_SPEEDUP = (
    "Time of the serial net divided by time of the parallel one, both at the same depth and "
    "under the same runtime, paired block by block. Above the line at 1 the parallel net is "
    "faster; the dotted line is the most that L branches could ever gain. Vertical bars are "
    "{interval} intervals."
)
_THROUGHPUT = (
    "Images per second of one stream of calls: batch over time per call. Higher is better."
)
_MEMORY = {
    "cpu": "Peak resident memory of the worker in one call, above what it held before the net.",
    "cuda": "Peak memory allocated on the GPU in one call, above what it held before the net.",
}
_OF_LIMIT = (
    "The least time that the operations of the net can take, at the device's measured ceilings, "
    "as a percentage of the time they took: each operation for itself at the rate of the fastest "
    "product or of a copy, with nothing launched, overlapped or fused. 100% is the roofline."
)
_ENERGY = (
    "What the device used for one image while calls followed each other without a pause, idle "
    "power included."
)
_MODEL = (
    "Points are measured, lines are the latency model. It was fitted to depths up to {deepest} "
    "alone, left of the dotted upright line; to the right of it the line was drawn without having "
    "seen the points."
)
_TRACED = (
    "Points are timelines: what one call runs on {device}. Lines are straight, a fixed part and "
    "so many for each block, and therefore bent on logarithmic axes. Level (L⁰): depth makes the "
    "operations larger; rising (L¹): there are more of them."
)
_WEIGHTS = " The dotted grey line is the size of the weights alone."


@dataclass(frozen=True)
class PanelView:
    """A drawn panel.

    Attributes:
        regime: What it is about.
        svg: The drawing.
        depths: Heads of the table's columns.
        rows: Number of the line, label and cells of the table's rows.
    """

    regime: Regime
    svg: Markup
    depths: tuple[int, ...]
    rows: list[tuple[int | None, str, list[str]]]


@dataclass(frozen=True)
class Chart:
    """A figure of the page.

    Attributes:
        key: Anchor in the page, and start of every id in its drawings.
        title: What is drawn.
        values: Quantity and unit of the values.
        unit: What stands behind one of them.
        note: How to read it.
        panels: One a regime.
        legend: Number, label and swatch of every line.
    """

    key: str
    title: str
    values: str
    unit: str
    note: str
    panels: list[PanelView]
    legend: list[tuple[int | None, str, Markup]]


def charts(
    cases: pd.DataFrame,
    blocks: pd.DataFrame,
    verdicts: Sequence[Verdict],
    predictions: Sequence[Prediction],
    regimes: Mapping[str, Regime],
    looks: Mapping[Line, Look],
) -> list[Chart]:
    """Return every figure that has something to show.

    Args:
        cases: `analysis.tables.case_table` with the columns ``floor`` and
            ``traced_operations``.
        blocks: `analysis.tables.block_table`.
        verdicts: The run's.
        predictions: Of the latency model, one a verdict.
        regimes: By group.
        looks: Of every line.
    """
    column = time_column(cases)
    on_device = column == "device_time"
    basis = "device" if on_device else "wall"
    margin = verdicts[0].margin if verdicts else 0.0
    confidence = verdicts[0].confidence if verdicts else 0.95
    growth = {0: "L⁰", 1: "L¹"}
    latency = _LATENCY.format(margin=units.percent(margin))
    note = " Device time, between two events with the work queued up ahead." if on_device else ""
    gain = _SPEEDUP.format(interval=units.percent(2 * confidence - 1))
    kinds = {str(device).split(":")[0] for device in cases["device"]}
    spent = " ".join(_MEMORY[kind] for kind in sorted(kinds & _MEMORY.keys())) + _WEIGHTS
    wanted = [
        (
            "latency",
            "Latency against depth",
            latency + note,
            series.latency(cases, blocks, column),
            Axis("time per call (ms)", unit="ms", guides=growth, margin=margin),
        ),
        (
            "model",
            "Prediction and measurement",
            _MODEL.format(deepest=DEEPEST_FITTED),
            series.modelled(cases, column, predictions, basis),
            Axis("time per call (ms)", unit="ms", guides={}, upright=DEEPEST_FITTED),
        ),
        (
            "speedup",
            "Speed-up over the serial net",
            gain,
            series.speedup(cases, verdicts, basis),
            Axis("serial time / this time", unit="×", guides={1: "= L"}, unity=True),
        ),
        (
            "throughput",
            "Throughput against depth",
            _THROUGHPUT,
            series.throughput(cases, column),
            Axis("images per second", unit="images/s", guides={}),
        ),
        (
            "limit",
            "Percentage of the limit",
            _OF_LIMIT,
            series.of_limit(cases, column),
            Axis("of the roofline (%)", unit="%", guides={}),
        ),
        (
            "kernels",
            "Kernels against depth" if on_device else "Operations against depth",
            _TRACED.format(device="the GPU" if on_device else "the CPU"),
            series.traced_operations(cases),
            Axis(
                "kernels per call" if on_device else "operations per call",
                unit="kernels" if on_device else "operations",
                guides=growth,
            ),
        ),
        (
            "memory",
            "Memory against depth",
            spent,
            series.memory(cases),
            Axis("peak memory (MiB)", unit="MiB", guides={}),
        ),
        (
            "energy",
            "Energy against depth",
            _ENERGY,
            series.energy(cases),
            Axis("energy per image (J)", unit="J", guides={}),
        ),
    ]
    if on_device:
        wall = (
            "wall",
            "Latency by the wall clock",
            "As a caller sees it: launch, computation and synchronisation.",
            series.latency(cases, blocks.iloc[:0], "wall"),
            Axis("time per call (ms)", unit="ms", guides=growth, margin=margin),
        )
        wanted.insert(1, wall)
    return [
        chart(key, title, note, panels, axis, looks, regimes)
        for key, title, note, panels, axis in wanted
        if any(some.points for panel in panels for some in panel.series)
    ]


def time_column(cases: pd.DataFrame) -> str:
    """Return the column of the case table that decides: device time where there is any."""
    return "device_time" if (cases["device_time"] > 0).any() else "wall"


def chart(
    key: str,
    title: str,
    note: str,
    panels: Sequence[Panel],
    axis: Axis,
    looks: Mapping[Line, Look],
    regimes: Mapping[str, Regime],
) -> Chart:
    """Draw a figure with its legend and tables.

    Args:
        key: Anchor, and start of every id.
        title: What is drawn.
        note: How to read it.
        panels: Those of one device share their axes where that leaves enough of them.
        axis: What stands on the y axis.
        looks: Of every line.
        regimes: Words for the panels, by their groups.
    """
    views: list[PanelView] = []
    apart = False
    devices = dict.fromkeys(panel.device for panel in panels)
    with style.drawing():
        for device in devices:
            shared = [panel for panel in panels if panel.device == device]
            limits_of = frames(shared, axis)
            apart = apart or len({(limits.low, limits.high) for limits in limits_of}) > 1
            for panel, limits in zip(shared, limits_of, strict=True):
                regime = regimes[panel.group]
                figure = draw.draw(panel, axis, limits, looks)
                name = f"{key}-{len(views) + 1}"
                what = f"{title}: {regime.full}"
                drawing = svg.to_svg(figure, name, what, _describe(panel, axis))
                rows = _rows(panel, limits, looks)
                views.append(PanelView(regime, drawing, limits.depths, rows))
        legend = _legend(key, panels, looks)
    if apart:
        note += " Each panel starts where its values do; a factor is equally tall in all of them."
    elif len(views) > 1:
        note += " All panels share one axis."
    return Chart(key, title, axis.label, axis.unit, note, views, legend)


def _legend(
    key: str, panels: Sequence[Panel], looks: Mapping[Line, Look]
) -> list[tuple[int | None, str, Markup]]:
    lines = dict.fromkeys(some.line for panel in panels for some in panel.series)
    entries: list[tuple[str, Look | None]] = [
        (line.label, looks[line])
        for line in sorted(lines, key=lambda line: (line.model != "serial", line))
    ]
    if any(panel.weights for panel in panels):
        entries.append(("weights", None))
    legend = []
    for number, (label, look) in enumerate(entries, start=1):
        words = look.words if look else "thin dotted line"
        name = f"{key}-swatch-{number}"
        drawing = svg.to_svg(draw.swatch(look), name, words, "legend")
        legend.append((look.number if look else None, label, drawing))
    return legend


def _rows(
    panel: Panel, limits: Frame, looks: Mapping[Line, Look]
) -> list[tuple[int | None, str, list[str]]]:
    rows: list[tuple[int | None, str, list[str]]] = [
        (looks[some.line].number, some.line.label, _cells(some, limits.depths))
        for some in panel.series
    ]
    return rows + [
        (None, "weights", [units.short(sizes.get(depth)) for depth in limits.depths])
        for sizes in panel.weights
    ]


def _describe(panel: Panel, axis: Axis) -> str:
    """Say what the panel shows: first and last value of each curve, and what was lost."""
    clauses = []
    for some in panel.series:
        clause = some.line.label
        if some.points:
            first, last = some.points[0], some.points[-1]
            clause += f": {_text(first.value)} at depth {first.depth}"
            if last is not first:
                clause += f", {_text(last.value)} at depth {last.depth}"
        lost = ", ".join(f"{fate} at depth {depth}" for depth, fate in sorted(some.lost.items()))
        clauses.append(f"{clause}; {lost}" if lost else clause)
    return f"{axis.label}. {'. '.join(clauses)}."


def _cells(some: Series, depths: Sequence[int]) -> list[str]:
    points = {point.depth: point for point in some.points}
    cells = []
    for depth in depths:
        point = points.get(depth)
        if point is None:
            cells.append(some.lost.get(depth, units.NONE))
            continue
        interval = units.span(point.low, point.high)
        cells.append(_text(point.value) + (f" ({interval})" if interval else ""))
    return cells


def _text(value: float) -> str:
    """Return a value as text; a count, which is an int, keeps all of its digits."""
    return f"{value:,}" if isinstance(value, int) else units.short(value)
