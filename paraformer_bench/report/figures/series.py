"""What the figures show: cases and verdicts turned into series, one panel a regime."""

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

Number = float | None


@dataclass(frozen=True)
class Point:
    """One case of a series, in the unit of its figure.

    Attributes:
        depth: Blocks in the net.
        value: Estimate over blocks.
        low: Lower end of its interval; null where there is none.
        high: Upper end; null likewise.
        blocks: What single blocks saw; may be empty.
    """

    depth: int
    value: float
    low: Number = None
    high: Number = None
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Series:
    """A curve of a figure.

    Attributes:
        curve: Whose.
        points: By depth.
        lost: Depth -> status of the cases without a value.
        model: Depth and value of what is thought of the points; empty where nothing is.
    """

    curve: Curve
    points: tuple[Point, ...]
    lost: Mapping[int, str] = field(default_factory=dict)
    model: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """The series of one regime, to be compared with each other.

    Attributes:
        group: `Case.group`.
        device: Panels of one device share their axes.
        series: In the order of the legend.
        weights: Depth -> MiB of parameters, one mapping for every size that occurs.
    """

    group: str
    device: str
    series: tuple[Series, ...]
    weights: tuple[Mapping[int, float], ...] = ()


Rows = Sequence[Any]
"""Rows of the case table, each with its `Curve`: `data.rows_of`."""


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

    Args:
        rows: Of the case table.
        column: ``wall`` or ``device_time``.
        blocks: Case id -> medians (s) of single blocks, to be shown too.
    """

    def point(row: Any) -> Point | None:
        if not (times := _times(row, column)):
            return None
        value, low, high = times
        seen = tuple(seconds * MS for seconds in (blocks or {}).get(row.case_id, ()))
        return Point(row.depth, value * MS, low and low * MS, high and high * MS, seen)

    return panels(rows, point)


def modelled(rows: Rows, column: str, predictions: Sequence[Prediction]) -> list[Panel]:
    """Return measured times in ms of the curves that have a model, and what it says of them.

    Args:
        rows: Of the case table.
        column: ``wall`` or ``device_time``.
        predictions: Those on the basis of the column.
    """
    models = {
        one.verdict.curve_id: tuple((step.depth, step.seconds * MS) for step in one.model.steps)
        for one in predictions
        if one.model
    }
    return [
        replace(
            panel,
            series=tuple(replace(s, lost={}, model=models[s.curve.id]) for s in panel.series),
        )
        for panel in latency([row for row in rows if row.curve_id in models], column)
    ]


def of_limit(rows: Rows, column: str) -> list[Panel]:
    """Return the roofline floor of a case as a percentage of its time, against depth."""

    def point(row: Any) -> Point | None:
        return _over(row, 100 * row.floor, column) if 0 < row.floor < math.inf else None

    return panels(rows, point)


def throughput(rows: Rows, column: str) -> list[Panel]:
    """Return images/s against depth: the batch over the time in ``column``."""
    return panels(rows, lambda row: _over(row, row.batch, column))


def traced_operations(rows: Rows) -> list[Panel]:
    """Return operations of one call in the timelines against depth, and the line through them."""

    def point(row: Any) -> Point | None:
        return Point(row.depth, int(row.traced_operations))

    return [
        replace(panel, series=tuple(replace(s, model=_straight(s.points)) for s in panel.series))
        for panel in panels([row for row in rows if row.traced_operations > 0], point)
    ]


def memory(rows: Rows) -> list[Panel]:
    """Return peak memory of one call and the weights in it, in MiB, against depth."""

    def point(row: Any) -> Point | None:
        peak = row.peak_bytes
        return Point(row.depth, peak * MIB) if 0 < peak < math.inf else None

    weights = {group: _weights(curves.values()) for group, curves in grouped(rows).items()}
    return [replace(panel, weights=weights[panel.group]) for panel in panels(rows, point)]


def energy(rows: Rows) -> list[Panel]:
    """Return joules for one image against depth."""

    def point(row: Any) -> Point | None:
        used = row.energy_joules / row.batch
        return Point(row.depth, used) if 0 < used < math.inf else None

    return panels([row for row in rows if row.energy_joules > 0], point)


def speedup(rows: Rows, verdicts: Iterable[Verdict]) -> list[Panel]:
    """Return the serial net's time over each curve's at equal depth, paired by block.

    Args:
        rows: Of the case table.
        verdicts: Those of one basis.
    """
    gains = {(one.curve_id, gain.depth): gain for one in verdicts for gain in one.speedup}
    curves = {curve_id for curve_id, _ in gains}

    def point(row: Any) -> Point | None:
        gain = gains.get((row.curve_id, row.depth))
        return Point(gain.depth, gain.ratio, gain.low, gain.high) if gain else None

    return panels([row for row in rows if row.curve_id in curves], point, absent="no serial")


def panels(rows: Rows, point: Callable[[Any], Point | None], absent: str = "") -> list[Panel]:
    """Return one panel a group; curves that were only skipped are left out.

    Args:
        rows: Of the case table.
        point: Point of a row; null where it has none.
        absent: What to call a case without a point that did not fail; empty to pass over it.
    """
    found = []
    for group, curves in grouped(rows).items():
        series = []
        for held in curves.values():
            points = [(row, point(row)) for row in held]
            drawn = tuple(place for _, place in points if place)
            fates = {
                row.depth: absent if row.status == "ok" else row.status
                for row, place in points
                if not place
            }
            lost = {depth: fate for depth, fate in fates.items() if fate}
            if drawn or set(lost.values()) - {"skipped"}:
                series.append(Series(held[0].curve, drawn, lost))
        if series:
            ordered = tuple(sorted(series, key=lambda one: one.curve.sort_key))
            found.append(Panel(group, ordered[0].curve.regime.device, ordered))
    return found


def _times(row: Any, column: str) -> tuple[float, Number, Number] | None:
    """Time of a case and its interval in seconds; null where it has none."""
    value, low, high = (getattr(row, column + end) for end in ("", "_low", "_high"))
    if not 0 < value < math.inf:
        return None
    return value, None if math.isnan(low) else low, None if math.isnan(high) else high


def _over(row: Any, amount: float, column: str) -> Point | None:
    """An amount over the time of a case: the interval turns around."""
    if not (times := _times(row, column)):
        return None
    value, fastest, slowest = times
    low = amount / slowest if slowest else None
    return Point(row.depth, amount / value, low, amount / fastest if fastest else None)


def _weights(curves: Iterable[list[Any]]) -> tuple[Mapping[int, float], ...]:
    """Return sizes of the parameters by depth; models of equal size share one entry."""
    models: dict[tuple[str, int], dict[int, float]] = {}
    for row in (row for rows in curves for row in rows):
        if not math.isnan(row.parameter_bytes):
            model = models.setdefault((row.model, row.curve.regime.branch_depth), {})
            model[row.depth] = float(row.parameter_bytes * MIB)
    sizes: list[dict[int, float]] = []
    for model in models.values():
        if (size := dict(sorted(model.items()))) not in sizes:
            sizes.append(size)
    return tuple(sizes)


def _straight(points: Sequence[Point]) -> tuple[tuple[int, float], ...]:
    """Return the least-squares line through points, which is bent on logarithmic axes."""
    depths = [point.depth for point in points]
    if len(depths) < 2:
        return ()
    slope, fixed = np.polyfit(depths, [point.value for point in points], 1)
    between = np.geomspace(depths[0], depths[-1], 24).round().astype(int)
    line = {int(depth): float(fixed + slope * depth) for depth in between}
    return tuple((depth, value) for depth, value in line.items() if value > 0)
