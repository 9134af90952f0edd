"""Latency against depth, by the deciding clock and by the wall, and the speed-up over serial."""

from __future__ import annotations

from paraformer_bench.report.data import ReportData
from paraformer_bench.report.figures import series
from paraformer_bench.report.figures.chart import Axis, chart
from paraformer_bench.report.page import Section, alone
from paraformer_bench.study.words import percent

ORDER = 30

GROWTH = {0: "L⁰", 1: "L¹"}
"""Exponents of the guides, and what stands at their ends."""

_LATENCY = (
    "Logarithmic axes: a net whose time does not depend on depth runs level (L⁰), one that does "
    "its blocks one after another rises like L¹. The shaded band is ±{margin} around each "
    "curve's shallowest depth: constant means staying in or below it. Vertical bars are 95% "
    "intervals over blocks, the short faint dashes are the medians of single blocks."
)
_QUEUED = " Device time, between two events with the work queued up ahead."
_WALL = "As a caller sees it: launch, computation and synchronisation."
_SPEEDUP = (
    "Time of the serial net divided by time of the parallel one, both at the same depth and "
    "under the same runtime, paired block by block. Above the line at 1 the parallel net is "
    "faster; the dotted line is the most that L branches could ever gain. Vertical bars are "
    "{interval} intervals."
)


def sections(data: ReportData) -> list[Section]:
    """Return a section a figure."""
    on_device = data.basis == "device"
    margin, confidence = (data.rule.margin, data.rule.confidence) if data.rule else (0.0, 0.95)
    names = data.looks, data.regimes
    axis = Axis("time per call (ms)", "ms", GROWTH, margin)
    note = _LATENCY.format(margin=percent(margin)) + (_QUEUED if on_device else "")
    panels = series.latency(data.rows, data.column, data.block_times())
    figure = chart("latency", "Latency against depth", note, panels, axis, *names)
    found = alone(figure, "Latency")
    if on_device:
        panels = series.latency(data.rows, "wall")
        found += alone(chart("wall", "Latency by the wall clock", _WALL, panels, axis, *names))
    axis = Axis("serial time / this time", "×", {1: "= L"}, unity=True)
    note = _SPEEDUP.format(interval=percent(2 * confidence - 1))
    panels = series.speedup(data.rows, [v for v in data.verdicts if v.basis == data.basis])
    figure = chart("speedup", "Speed-up over the serial net", note, panels, axis, *names)
    return found + alone(figure, "Speed-up")
