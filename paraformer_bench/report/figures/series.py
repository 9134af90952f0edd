"""What the figures show: cases and verdicts turned into series, one panel a regime.

``rows`` are those of the case table, each with its `Curve` (`data.rows_of`); ``column`` is the
time in it that is meant: ``wall`` or ``device_time``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.analysis.latency_model import Prediction
from paraformer_bench.study.case import Curve
from paraformer_bench.study.words import MIB, MS

Rows = Sequence[Any]
Line = tuple[tuple[int, float], ...]
"""Depths and values."""


@dataclass(frozen=True)
class Point:
    """One case of a series, in the unit of its figure.

    Attributes:
        value: Estimate over blocks.
        low, high: Ends of its interval; null where there is none.
        blocks: What single blocks saw; may be empty.
    """

    depth: int
    value: float
    low: float | None = None
    high: float | None = None
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Series:
    """A curve of a figure.

    Attributes:
        points: By depth.
        lost: Depth -> status of the cases without a value.
        model: What is thought of the points; empty where nothing is.
    """

    curve: Curve
    points: tuple[Point, ...]
    lost: Mapping[int, str] = field(default_factory=dict)
    model: Line = ()


@dataclass(frozen=True)
class Panel:
    """The series of one regime, to be compared with each other.

    Attributes:
        group: `Case.group`.
        device: Panels of one device share their axes.
        weights: Depth -> MiB of parameters, one mapping for every size that occurs.
    """

    group: str
    device: str
    series: tuple[Series, ...]
    weights: tuple[Mapping[int, float], ...] = ()


def grouped(rows: Iterable[Any]) -> dict[str, dict[str, list[Any]]]:
    """Return rows by group and then by curve id, in their order."""
    groups: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        groups.setdefault(row.group, {}).setdefault(row.curve_id, []).append(row)
    return groups


def latency(
    rows: Rows, column: str, blocks: Mapping[str, tuple[float, ...]] | None = None
) -> list[Panel]:
    """Return time per call in ms against depth.

    ``blocks`` maps case ids to the medians (s) of single blocks, to be shown too.
    """

    def point(row: Any) -> Point | None:
        if not (timed := _timed(row, column)):
            return None
        low, high = timed.low and timed.low * MS, timed.high and timed.high * MS
        seen = tuple(seconds * MS for seconds in (blocks or {}).get(row.case_id, ()))
        return Point(row.depth, timed.value * MS, low, high, seen)

    return panels(rows, point)


def modelled(rows: Rows, column: str, predictions: Sequence[Prediction]) -> list[Panel]:
    """Return measured times in ms of the curves that have a model, and what it says of them.

    The predictions are those on the basis of the column.
    """
    models = {
        one.verdict.curve_id: tuple((step.depth, step.seconds * MS) for step in one.model.steps)
        for one in predictions
        if one.model
    }
    timed = latency([row for row in rows if row.curve_id in models], column)
    return _with_model(timed, lambda series: models[series.curve.id])


def of_limit(rows: Rows, column: str) -> list[Panel]:
    """Return the roofline floor of a case as a percentage of its time, against depth."""
    return panels(rows, lambda row: _over(row, 100 * row.floor, column))


def throughput(rows: Rows, column: str) -> list[Panel]:
    """Return images/s against depth: the batch over the time in ``column``."""
    return panels(rows, lambda row: _over(row, row.batch, column))


def traced_operations(rows: Rows) -> list[Panel]:
    """Return operations of one call in the timelines against depth, and the line through them."""
    traced = [row for row in rows if row.traced_operations > 0]
    counts = panels(traced, lambda row: Point(row.depth, int(row.traced_operations)))
    return _with_model(counts, lambda series: _straight(series.points))


def memory(rows: Rows) -> list[Panel]:
    """Return peak memory of one call and the weights in it, in MiB, against depth."""
    return [
        replace(panel, weights=_weights(row for row in rows if row.group == panel.group))
        for panel in panels(rows, lambda row: _spent(row, row.peak_bytes * MIB))
    ]


def energy(rows: Rows) -> list[Panel]:
    """Return joules for one image against depth."""
    measured = [row for row in rows if row.energy_joules > 0]
    return panels(measured, lambda row: _spent(row, row.energy_joules / row.batch))


def speedup(rows: Rows, verdicts: Iterable[Verdict]) -> list[Panel]:
    """Return the serial net's time over each curve's at equal depth, paired by block.

    The verdicts are those of one basis.
    """
    gains = {
        (verdict.curve_id, gain.depth): Point(gain.depth, gain.ratio, gain.low, gain.high)
        for verdict in verdicts
        for gain in verdict.speedup
    }
    curves = {curve_id for curve_id, _ in gains}
    compared = [row for row in rows if row.curve_id in curves]
    return panels(compared, lambda row: gains.get((row.curve_id, row.depth)), "no serial")


def panels(rows: Rows, point: Callable[[Any], Point | None], absent: str = "") -> list[Panel]:
    """Return one panel a group; curves that were only skipped are left out.

    ``absent`` is what to call a case without a point that did not fail; empty to pass over it.
    """
    found = []
    for group, curves in grouped(rows).items():
        series = []
        for of_curve in curves.values():
            points = {row.depth: point(row) for row in of_curve}
            drawn = tuple(place for place in points.values() if place)
            fates = {row.depth: absent if row.status == "ok" else row.status for row in of_curve}
            lost = {depth: fate for depth, fate in fates.items() if fate and not points[depth]}
            if drawn or set(lost.values()) - {"skipped"}:
                series.append(Series(of_curve[0].curve, drawn, lost))
        if series:
            ordered = tuple(sorted(series, key=lambda one: one.curve.sort_key))
            found.append(Panel(group, ordered[0].curve.regime.device, ordered))
    return found


def _timed(row: Any, column: str) -> Point | None:
    """Time of a case in seconds; null where it has none."""
    value, *ends = (getattr(row, column + end) for end in ("", "_low", "_high"))
    low, high = (None if math.isnan(end) else end for end in ends)
    return Point(row.depth, value, low, high) if 0 < value < math.inf else None


def _over(row: Any, amount: float, column: str) -> Point | None:
    """An amount over the time of a case: the interval turns around."""
    if not (timed := _timed(row, column)) or not 0 < amount < math.inf:
        return None
    low, high = timed.high and amount / timed.high, timed.low and amount / timed.low
    return Point(row.depth, amount / timed.value, low, high)


def _spent(row: Any, amount: float) -> Point | None:
    return Point(row.depth, amount) if 0 < amount < math.inf else None


def _with_model(panels: Iterable[Panel], model: Callable[[Series], Line]) -> list[Panel]:
    """Return panels with what is thought of each series, and nothing lost."""
    return [
        replace(panel, series=tuple(replace(s, lost={}, model=model(s)) for s in panel.series))
        for panel in panels
    ]


def _weights(rows: Iterable[Any]) -> tuple[Mapping[int, float], ...]:
    """Return sizes of the parameters by depth; models of equal size share one entry."""
    models: dict[tuple[str, int], dict[int, float]] = {}
    for row in rows:
        if not math.isnan(row.parameter_bytes):
            sizes = models.setdefault((row.model, row.curve.regime.branch_depth), {})
            sizes[row.depth] = float(row.parameter_bytes * MIB)
    return tuple(map(dict, dict.fromkeys(tuple(sorted(m.items())) for m in models.values())))


def _straight(points: Sequence[Point]) -> Line:
    """Return the least-squares line through points, which is bent on logarithmic axes."""
    depths = [point.depth for point in points]
    if len(depths) < 2:
        return ()
    slope, fixed = np.polyfit(depths, [point.value for point in points], 1)
    between = np.geomspace(depths[0], depths[-1], 24).round().astype(int)
    line = {int(depth): float(fixed + slope * depth) for depth in between}
    return tuple((depth, value) for depth, value in line.items() if value > 0)
