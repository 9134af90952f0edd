"""Numbers on their way to a reader: units, series, limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.analysis.claim import judge
from paraformer_bench.analysis.tables import case_table
from paraformer_bench.report.data import ReportData, in_words, rows_of, shared
from paraformer_bench.report.facts import commit
from paraformer_bench.report.figures import series, style
from paraformer_bench.report.figures.chart import Axis, depth_ticks, frames
from paraformer_bench.report.figures.series import Panel, Point, Series
from paraformer_bench.report.sections.environment import environment
from paraformer_bench.study import words
from paraformer_bench.study.run_folder import Run, RunInfo


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1.00"),
        (0.012345, "0.0123"),
        (9.996, "10.00"),
        (123.4, "123"),
        (1234567, "1,230,000"),
        (-0.5, "-0.500"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (1e-20, "1.00e-20"),
        (1e300, "1.00e+300"),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert words.short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.21 s"), (61, "1 min 1 s"), (492.4, "8 min 12 s"), (3725, "1 h 2 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_moments_powers_and_lists() -> None:
    assert words.moment("2025-11-23T20:13:59Z") == "2025-11-23 20:13 UTC"
    assert words.moment("yesterday") == "yesterday"
    assert words.power(-0.004) == "0.00"
    assert words.power(0.995) in ("0.99", "1.00")
    assert words.span(1.0, None) == ""
    assert words.depth_list([4, 1, 4]) == "1, 4"
    assert words.depth_list(list(range(1, 10))) == "1, 2, 3 … 9 (9 depths)"
    assert words.count(1, "regime") == "1 regime"
    assert words.count(0, "regime") == "0 regimes"


def rows(records: list[Any]) -> list[Any]:
    return rows_of(case_table(records), records)


def regimes(records: list[Any]) -> Iterator[Any]:
    return (row.curve.regime for row in rows(records))


def exact(make: Any, milliseconds: Any, **fields: Any) -> list[Any]:
    """A curve without noise, whose block b is slower by b hundredths."""
    records = make.curve(lambda depth: 1.0, blocks=3, **fields)
    for record in records:
        seconds = milliseconds(record.case.depth) / 1e3 * (1 + record.block / 100)
        record.wall_seconds = [seconds] * 5
    return records


def test_latency_is_in_milliseconds_with_block_medians(make: Any) -> None:
    records = exact(make, lambda depth: 2.0 * depth)
    data = ReportData(Run(Path(), RunInfo(), records, []), [])
    (panel,) = series.latency(data.rows, "wall", data.block_times())
    (curve,) = panel.series
    assert [point.depth for point in curve.points] == [1, 2, 4, 8]
    last = curve.points[-1]
    assert last.value == pytest.approx(16 * (1.00 * 1.01 * 1.02) ** (1 / 3))
    assert last.blocks == pytest.approx((16.0, 16.16, 16.32))
    assert last.low is not None
    assert last.high is not None
    assert last.low < last.value < last.high


def test_throughput_turns_the_interval_around(make: Any) -> None:
    records = exact(make, lambda depth: 4.0, batch=8)
    cases = case_table(records)
    (panel,) = series.throughput(rows(records), "wall")
    point = panel.series[0].points[0]
    assert point.value == pytest.approx(8 / cases["wall"][0])
    assert point.low == pytest.approx(8 / cases["wall_high"][0])
    assert point.high == pytest.approx(8 / cases["wall_low"][0])


def test_memory_is_in_mebibytes_and_knows_the_weights(make: Any) -> None:
    records = exact(make, lambda depth: 1.0)
    for record in records:
        record.peak_bytes = 3 * 2**20 * record.case.depth
        record.parameter_bytes = 2**20 * record.case.depth
    (panel,) = series.memory(rows(records))
    assert [point.value for point in panel.series[0].points] == [3, 6, 12, 24]
    assert panel.weights == ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0},)


def test_speedup_is_serial_over_this_one(make: Any) -> None:
    records = exact(make, lambda depth: 1.0 * depth)
    records += exact(make, lambda depth: 2.0, model="paraformer", execution="stacked")
    (panel,) = series.speedup(rows(records), judge(records))
    (curve,) = panel.series
    assert curve.curve == records[-1].case.curve
    assert [point.value for point in curve.points] == pytest.approx([0.5, 1, 2, 4])


def test_branch_depths_of_one_group_share_a_panel(make: Any) -> None:
    records = exact(make, lambda depth: 1.0 * depth)
    records += exact(make, lambda depth: 1.0, model="paraformer")
    records += exact(make, lambda depth: 1.0, model="paraformer", branch_depth=2, depths=(2, 4, 8))
    (panel,) = series.latency(rows(records), "wall")
    assert [some.curve.label for some in panel.series] == [
        "serial loop, eager",
        "paraformer loop, eager",
        "paraformer loop, eager, branch depth 2",
    ]


def test_numbers_of_devices_are_lines_of_their_own(make: Any) -> None:
    records = exact(make, lambda depth: 1.0 * depth)
    for devices in (1, 2, 8):
        who = {"model": "paraformer", "execution": "sharded", "devices": devices}
        records += exact(make, lambda depth: 1.0, **who)
    (panel,) = series.latency(rows(records), "wall")
    assert [some.curve.label for some in panel.series] == [
        "serial loop, eager",
        "paraformer sharded, eager",
        "paraformer sharded, eager, 2 devices",
        "paraformer sharded, eager, 8 devices",
    ]
    looks = style.looks(some.curve for some in panel.series)
    assert len({(look.colour, look.marker) for look in looks.values()}) == 4


def test_limits_hold_every_value_and_are_shared_when_near(make: Any) -> None:
    axis = Axis("ms", "ms", {0: "L⁰", 1: "L¹"})
    curve = make.case().curve

    def panel(scale: float) -> Panel:
        points = (Point(1, scale, blocks=(scale * 0.8,)), Point(4, 2 * scale, 0.0001, 1e9))
        return Panel("g", "cpu", (Series(curve, points, {8: "oom"}),))

    near = frames([panel(1.0), panel(3.0)], axis)
    assert near[0] == near[1]
    assert near[0].depths == (1, 4, 8)
    assert near[0].low < 0.8
    assert near[0].high > 8 * 3.0  # L¹ from 3.0 reaches 24 at depth 8
    assert near[0].high < 1e3  # an interval without end does not squash the curve
    far = frames([panel(1.0), panel(1e6)], axis)
    assert far[0].high / far[0].low == pytest.approx(far[1].high / far[1].low)
    assert far[1].low > 1e5


def test_noise_of_a_flat_curve_does_not_fill_the_panel(make: Any) -> None:
    points = (Point(1, 1.0), Point(2, 1.01))
    curve = make.case().curve
    (limits,) = frames([Panel("g", "cpu", (Series(curve, points),))], Axis("ms", "ms", {}))
    assert limits.high / limits.low >= 4


def test_depth_labels_never_touch() -> None:
    assert depth_ticks([7], 250) == [7]
    assert depth_ticks([1, 2, 4, 8], 250) == [1, 2, 4, 8]
    crowded = depth_ticks(list(range(1, 65)), 250)
    assert crowded[-1] == 64
    gaps = [math.log2(b / a) for a, b in itertools.pairwise(crowded)]
    assert min(gaps) * 250 / 6 >= 15


def test_regimes_are_told_apart_by_what_varies(make: Any) -> None:
    records = make.study(depths=(1,)) + make.study(depths=(1,), width=768, batch=8)
    found = in_words(regimes(records))
    assert [regime.short for regime in found.values()] == [
        "width 192 · batch 1",
        "width 768 · batch 8",
    ]
    assert shared(found) == "197 tokens · float32 · cpu · inference · whole net"
    (alone,) = in_words(regimes(make.study(depths=(1,), heads=2, scope="trunk"))).values()
    assert alone.short == alone.full
    assert "2 heads" in alone.full
    assert "trunk only" in alone.full
    both = make.study(depths=(1,)) + make.study(depths=(1,), mode="train")
    told = [regime.short for regime in in_words(regimes(both)).values()]
    assert told == ["inference", "training"]


def test_environment_is_flattened_in_order() -> None:
    info = {
        "environment": {"a": 1, "gpu": {"name": "x", "pci": {"id": 2, "ok": True}, "none": None}},
        "versions": {"torch": "2"},
    }
    assert list(environment(RunInfo(**info)).items()) == [
        ("machine", [("a", "1")]),
        ("gpu", [("name", "x"), ("pci / id", "2"), ("pci / ok", "yes"), ("none", "unknown")]),
        ("versions", [("torch", "2")]),
    ]


def test_commit_keeps_the_mark_of_changes() -> None:
    assert commit(RunInfo(commit="0123456789abcdef+changes")) == "0123456789ab+changes"
    assert commit(RunInfo()) == ""


def test_environment_is_told_in_peoples_units() -> None:
    cpu = {"memory_bytes": 25274793984, "clock_hz": 2596132000, "clock_hz_note": "idle"}
    gpu = {"power_watts": 71.3, "temperature_celsius": None}
    sections = environment(RunInfo(environment={"cpu": cpu, "gpus": {"cuda:0": gpu}}))
    assert list(sections.items()) == [
        ("cpu", [("memory", "23.5 GiB"), ("clock", "2.60 GHz"), ("clock_hz_note", "idle")]),
        ("gpus", [("cuda:0 / power", "71.3 W"), ("cuda:0 / temperature_celsius", "unknown")]),
    ]
