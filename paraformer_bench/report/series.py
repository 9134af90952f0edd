"""What the figures show: tables and verdicts turned into series, one panel a regime."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from paraformer_bench.analysis.predictions import Prediction
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.report.units import MIB, MS

Number = float | None


@dataclass(frozen=True, order=True)
class Line:
    """Who is drawn: a method, on so many devices, at one branch depth."""

    model: str
    execution: str
    runtime: str
    branch_depth: int = 1
    devices: int = 1

    @property
    def label(self) -> str:
        """Words for a legend or the head of a row; without an execution, of a whole run."""
        if not self.execution:
            return self.model
        label = f"{self.model} {self.execution}, {self.runtime}"
        if self.devices != 1:
            label += f", {self.devices} devices"
        return label if self.branch_depth == 1 else f"{label}, branch depth {self.branch_depth}"


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
        line: Who.
        points: By depth.
        lost: Depth -> status of the cases without a value.
        model: Depth and value of what is thought of the points; empty where nothing is.
    """

    line: Line
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


def line_of(row: Mapping[Any, Any]) -> Line:
    """Return who a row of a table is about."""
    who = (row["model"], row["execution"], row["runtime"], row["branch_depth"])
    return Line(*who, row.get("devices", 1))


def latency(cases: pd.DataFrame, blocks: pd.DataFrame, column: str) -> list[Panel]:
    """Return time per call in ms against depth.

    Args:
        cases: `analysis.tables.case_table`.
        blocks: `analysis.tables.block_table`; none of its rows for no medians of single blocks.
        column: ``wall`` or ``device_time``.
    """
    seen: dict[str, tuple[float, ...]] = {
        str(case_id): tuple(sorted(times.dropna() * MS))
        for case_id, times in blocks.groupby("case_id", sort=False)[column]
    }

    def point(row: dict[str, Any]) -> Point | None:
        if not 0 < row[column] < math.inf:
            return None
        low, high = _known(row[f"{column}_low"], MS), _known(row[f"{column}_high"], MS)
        return Point(row["depth"], row[column] * MS, low, high, seen.get(row["case_id"], ()))

    return _panels(cases, point)


def modelled(
    cases: pd.DataFrame, column: str, predictions: Sequence[Prediction], basis: str
) -> list[Panel]:
    """Return measured times in ms of the curves that have a model, and what it says of them."""
    steps = {
        prediction.verdict.curve_id: prediction.model.steps
        for prediction in predictions
        if prediction.model and prediction.verdict.basis == basis
    }
    held = cases[cases["curve_id"].isin(list(steps))]
    models = {
        (str(curve["group"].iloc[0]), line_of(curve.iloc[0].to_dict())): tuple(
            (step.depth, step.seconds * MS) for step in steps[str(curve_id)]
        )
        for curve_id, curve in held.groupby("curve_id", sort=False)
    }
    return [
        replace(
            panel,
            series=tuple(
                replace(some, lost={}, model=models.get((panel.group, some.line), ()))
                for some in panel.series
            ),
        )
        for panel in latency(held, held.iloc[:0].assign(block=0), column)
    ]


def of_limit(cases: pd.DataFrame, column: str) -> list[Panel]:
    """Return the roofline floor of a case as a percentage of its time, against depth."""

    def point(row: dict[str, Any]) -> Point | None:
        if not (0 < row[column] < math.inf and 0 < row["floor"] < math.inf):
            return None
        share = 100 * row["floor"]
        fastest, slowest = _known(row[f"{column}_low"]), _known(row[f"{column}_high"])
        low = share / slowest if slowest else None
        high = share / fastest if fastest else None
        return Point(row["depth"], share / row[column], low, high)

    return _panels(cases, point)


def traced_operations(cases: pd.DataFrame) -> list[Panel]:
    """Return operations of one call in the timelines against depth, and the line through them."""

    def point(row: dict[str, Any]) -> Point | None:
        return Point(row["depth"], int(row["traced_operations"]))

    traced = cases[cases["traced_operations"] > 0]
    return [
        replace(panel, series=tuple(replace(s, model=_straight(s.points)) for s in panel.series))
        for panel in _panels(traced, point)
    ]


def throughput(cases: pd.DataFrame, column: str) -> list[Panel]:
    """Return images/s against depth: the batch over the time in ``column``."""

    def point(row: dict[str, Any]) -> Point | None:
        if not 0 < row[column] < math.inf:
            return None
        fastest, slowest = _known(row[f"{column}_low"]), _known(row[f"{column}_high"])
        low = row["batch"] / slowest if slowest else None
        high = row["batch"] / fastest if fastest else None
        return Point(row["depth"], row["batch"] / row[column], low, high)

    return _panels(cases, point)


def memory(cases: pd.DataFrame) -> list[Panel]:
    """Return peak memory of one call and the weights in it, in MiB, against depth."""

    def point(row: dict[str, Any]) -> Point | None:
        peak = row["peak_bytes"]
        return Point(row["depth"], peak * MIB) if 0 < peak < math.inf else None

    weights = {str(group): _weights(held) for group, held in cases.groupby("group")}
    return [replace(panel, weights=weights[panel.group]) for panel in _panels(cases, point)]


def energy(cases: pd.DataFrame) -> list[Panel]:
    """Return joules for one image against depth."""

    def point(row: dict[str, Any]) -> Point | None:
        used = row["energy_joules"] / row["batch"]
        return Point(row["depth"], used) if 0 < used < math.inf else None

    return _panels(cases[cases["energy_joules"] > 0], point)


def speedup(cases: pd.DataFrame, verdicts: Sequence[Verdict], basis: str) -> list[Panel]:
    """Return the serial net's time over each curve's at equal depth, paired by block."""
    gains = {
        (verdict.curve_id, gain.depth): gain
        for verdict in verdicts
        if verdict.basis == basis
        for gain in verdict.speedup
    }
    curves = {curve_id for curve_id, _ in gains}

    def point(row: dict[str, Any]) -> Point | None:
        gain = gains.get((row["curve_id"], row["depth"]))
        return Point(gain.depth, gain.ratio, gain.low, gain.high) if gain else None

    return _panels(cases[cases["curve_id"].isin(curves)], point, absent="no serial")


def _panels(
    cases: pd.DataFrame, point: Callable[[dict[str, Any]], Point | None], absent: str = ""
) -> list[Panel]:
    """Return one panel a group; curves that were only skipped are left out.

    Args:
        cases: Rows of the case table.
        point: Point of a row; null where it has none.
        absent: What to call a case without a point that did not fail; empty to pass over it.
    """
    panels = []
    for group, held in cases.groupby("group", sort=False):
        series = []
        for _, curve in held.groupby("curve_id", sort=False):
            rows: list[Any] = curve.sort_values("depth").to_dict("records")
            points = [(row, point(row)) for row in rows]
            drawn = tuple(p for _, p in points if p)
            fates = {
                row["depth"]: absent if row["status"] == "ok" else row["status"]
                for row, p in points
                if not p
            }
            lost = {depth: fate for depth, fate in fates.items() if fate}
            if drawn or set(lost.values()) - {"skipped"}:
                series.append(Series(line_of(rows[0]), drawn, lost))
        if series:
            device = str(held["device"].iloc[0])
            ordered = tuple(sorted(series, key=lambda s: (s.line.model != "serial", s.line)))
            panels.append(Panel(str(group), device, ordered))
    return panels


def _weights(cases: pd.DataFrame) -> tuple[Mapping[int, float], ...]:
    """Return sizes of the parameters by depth; models of equal size share one entry."""
    known = cases.dropna(subset=["parameter_bytes"])
    sizes: list[dict[int, float]] = []
    for _, model in known.groupby(["model", "branch_depth"], sort=False):
        pairs = zip(model["depth"], model["parameter_bytes"], strict=True)
        size = {int(depth): float(held * MIB) for depth, held in sorted(pairs)}
        if size and size not in sizes:
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


def _known(value: float, scale: float = 1.0) -> Number:
    return None if math.isnan(value) else value * scale
