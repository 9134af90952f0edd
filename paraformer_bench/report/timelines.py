"""The section about kernel timelines: what ran one after another and what side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from urllib.parse import quote

from paraformer_bench.report import units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line, line_of
from paraformer_bench.report.style import Look
from paraformer_bench.report.timeline_numbers import Column, absent, shown
from paraformer_bench.report.timeline_picture import Picture, picture
from paraformer_bench.report.traces import Traced, Traces
from paraformer_bench.timeline.timeline import INCOMPLETE, CurveTimeline, along, say

MOST_BYTES = 400_000
"""Pictures of timelines may take this much of a page; regimes that come later go without."""

LEAST_BYTES = 6_000
"""No picture is smaller: with less room left none is tried."""


@dataclass(frozen=True)
class Row:
    """One timeline in numbers.

    Attributes:
        line: Who.
        depth: Blocks in the net.
        whole: False if its trace is incomplete.
        words: What it shows, or why it is incomplete.
        cells: Under the heads of the table.
        slowdown: How much longer a call took under the profiler.
        file: Path of the trace, as shown.
        link: The same as a link.
        size: Of the file.
    """

    line: Line
    depth: int
    whole: bool
    words: str
    cells: list[str]
    slowdown: str
    file: str
    link: str
    size: str


@dataclass(frozen=True)
class Group:
    """The timelines of one regime.

    Attributes:
        regime: Which.
        curves: What the timelines of each curve say together.
        columns: Of the table of numbers.
        rows: By curve and depth.
        unseen: What ran and no timeline of it shows; empty if nothing.
        remarks: Quantities that no timeline has, and why.
        picture: None where there is nothing to draw, or no room.
        crowded: There was no room.
    """

    regime: Regime
    curves: list[tuple[Line, CurveTimeline]]
    columns: list[Column]
    rows: list[Row]
    unseen: str
    remarks: list[str]
    picture: Picture | None
    crowded: bool


@dataclass(frozen=True)
class Timelines:
    """The section's contents.

    Attributes:
        groups: One a regime with timelines.
        slowdown: How much longer calls took under the profiler; empty if nobody knows.
        others: Traces of cases without a record: shown path and link.
        missing: Cases without a trace, by the reason.
    """

    groups: list[Group]
    slowdown: str
    others: list[tuple[str, str]]
    missing: list[tuple[str, list[str]]]


def timelines(
    traces: Traces, regimes: Mapping[str, Regime], looks: Mapping[Line, Look]
) -> Timelines:
    """Return the section's contents.

    Args:
        traces: Of the run.
        regimes: By group, in the order of the page.
        looks: Of every line of the page.
    """
    by_group: dict[str, list[tuple[Line, Traced]]] = {}
    for traced in traces.traced:
        line = line_of(traced.case.to_json())
        by_group.setdefault(traced.case.group, []).append((line, traced))
    groups: list[Group] = []
    room = MOST_BYTES
    for group, regime in regimes.items():
        if held := by_group.get(group):
            held.sort(key=lambda one: (one[0].model != "serial", one[0], one[1].case.depth))
            made = _group(f"timeline-{len(groups) + 1}", held, regime, looks, room)
            room -= made.picture.size if made.picture else 0
            groups.append(made)
    missing: dict[str, list[str]] = {}
    for case, reason in traces.missing:
        missing.setdefault(reason, []).append(case.id)
    others = [(file, _link(file)) for file in traces.others]
    return Timelines(groups, _slowdown(traces.traced), others, list(missing.items()))


def counts(traces: Traces) -> dict[str, int]:
    """Return the kernels (on a CPU: operations) of each whole timeline, by case id."""
    found = {}
    for traced in traces.traced:
        timeline = traced.view.timeline
        number = timeline.kernels if timeline.on_gpu else timeline.operations
        if timeline.kind != INCOMPLETE and number and not _compiled(traced):
            found[traced.case.id] = number
    return found


def _group(
    name: str,
    held: Sequence[tuple[Line, Traced]],
    regime: Regime,
    looks: Mapping[Line, Look],
    room: int,
) -> Group:
    every = [traced.view.timeline for _, traced in held]
    columns = shown(every)
    crowded = room < LEAST_BYTES
    drawing = None if crowded else picture(name, held, regime.full, looks)
    crowded = crowded or (drawing is not None and drawing.size > room)
    return Group(
        regime,
        _curves(held),
        columns,
        [_row(line, traced, columns) for line, traced in held],
        _unseen(held),
        absent(every),
        None if crowded else drawing,
        crowded,
    )


def _unseen(held: Sequence[tuple[Line, Traced]]) -> str:
    if any(_compiled(traced) for _, traced in held):
        return (
            "On a CPU, a timeline of a compiled net shows matrix products and attention alone: "
            "the loops that the compiler made leave gaps, and are not counted."
        )
    return ""


def _compiled(traced: Traced) -> bool:
    """Whether part of the operations cannot be seen."""
    return traced.case.runtime == "compile" and traced.case.device == "cpu"


def _curves(held: Sequence[tuple[Line, Traced]]) -> list[tuple[Line, CurveTimeline]]:
    by_line: dict[Line, dict[int, Traced]] = {}
    for line, traced in held:
        by_line.setdefault(line, {})[traced.case.depth] = traced
    return [
        (line, along({depth: traced.view.timeline for depth, traced in depths.items()}))
        for line, depths in by_line.items()
    ]


def _row(line: Line, traced: Traced, columns: Sequence[Column]) -> Row:
    timeline = traced.view.timeline
    slower = traced.profile.slowdown if traced.profile else None
    return Row(
        line,
        traced.case.depth,
        timeline.kind != INCOMPLETE,
        say(timeline),
        [column.cell(timeline) for column in columns],
        units.times(slower),
        traced.file,
        _link(traced.file),
        units.size(traced.bytes),
    )


def _slowdown(traced: Sequence[Traced]) -> str:
    known = sorted(one.profile.slowdown for one in traced if one.profile and one.profile.slowdown)
    if not known:
        return ""
    return f"{units.times(median(known))} in the median, {units.times(known[-1])} at most"


def _link(file: str) -> str:
    """Return a path as a link, whatever bytes its name holds."""
    return quote(os.fsencode(file))
