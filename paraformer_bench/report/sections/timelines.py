"""What ran when: kernel timelines in words, pictures and numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from urllib.parse import quote

from paraformer_bench.report import html
from paraformer_bench.report.data import Conditions, ReportData
from paraformer_bench.report.figures import series
from paraformer_bench.report.figures.chart import Axis, chart
from paraformer_bench.report.figures.timeline import Picture, picture
from paraformer_bench.report.page import Block, Cell, Column, Fold, Section, Table
from paraformer_bench.report.sections.latency import GROWTH
from paraformer_bench.report.traces import Traced
from paraformer_bench.study.words import MIB, NONE, count, short, size, time, times, upper_first
from paraformer_bench.timeline.timeline import INCOMPLETE, Timeline, along, say

ORDER = 50

MOST_BYTES = 400_000
"""Pictures of timelines may take this much of a page; regimes that come later go without."""

LEAST_BYTES = 6_000
"""No picture is smaller: with less room left none is tried."""

_TRACED = (
    "Points are timelines: what one call runs on {device}. Lines are straight, a fixed part and "
    "so many for each block, and therefore bent on logarithmic axes. Level (L⁰): depth makes the "
    "operations larger; rising (L¹): there are more of them."
)
_TOOLS = (
    'Perfetto: open <a href="https://ui.perfetto.dev" rel="noreferrer">ui.perfetto.dev</a> and '
    "drop a trace onto it; it stays on your machine. TensorBoard, every trace of the run: "
    "<code>pip install 'paraformer-bench[tensorboard]'</code>, then <code>tensorboard --logdir "
    "traces</code> in this folder; its plugin is no longer maintained and loads a chart library "
    "from the internet. <code>timelines.json</code> holds all numbers."
)
_UNSEEN = (
    "On a CPU, a timeline of a compiled net shows matrix products and attention alone: "
    "the loops that the compiler made leave gaps, and are not counted."
)


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    return time(value) if value else "0"


def _share(value: float) -> str:
    return f"{value:.0%}"


def _mebibytes(value: float) -> str:
    return f"{short(value * MIB)} MiB"


Quantity = tuple[str, str, Callable[[float], str], str]
"""Name in `Timeline`, head of its column, how a value is written, and what it means."""

QUANTITIES: tuple[Quantity, ...] = (
    ("operations", "operations", _whole, "of one call; on a GPU kernels, copies and fills"),
    ("kernels", "kernels", _whole, "of one call"),
    (
        *("chain_operations", "chain", _whole),
        "operations of the longest chain, in which each starts after the one before has ended",
    ),
    (
        *("chain_share", "chain share", _share),
        "time of the longest chain over that of all operations: 100% if they run one after "
        "another, 1/n if n equal ones run at once",
    ),
    ("concurrency", "at once", short, "operations at once, on average while any runs"),
    (
        *("branch_overlap_seconds", "branches overlap", _seconds),
        "time in which operations of different branches run",
    ),
    ("streams", "streams", _whole, "that ran operations"),
    (
        *("blocks_per_sm", "blocks per SM", short),
        "thread blocks of a kernel per multiprocessor, mean over the kernels' time",
    ),
    (
        *("waves", "waves", short),
        "the same over how many blocks a multiprocessor holds at once; below 1 it has room left",
    ),
    (
        *("launch_bound", "host-bound", _share),
        "share of the call in which the GPU waits for the host",
    ),
    (
        *("idle_host_seconds", "idle, not launched", _seconds),
        "time in which nothing runs because nothing is launched yet",
    ),
    (
        *("idle_device_seconds", "idle, launched", _seconds),
        "time in which nothing runs although it is launched",
    ),
    (
        *("queue_seconds", "queue delay", _seconds),
        "median time from a launch's return to the start of what it launched",
    ),
    ("elements", "elements", _whole, "of all tensors that go into the operations"),
    (
        *("peak_live_bytes", "live peak", _mebibytes),
        "most memory in use within the call above what was at its start",
    ),
)


def sections(data: ReportData) -> list[Section]:
    """Return the section, none where nothing was profiled."""
    traces = data.traces
    groups: dict[str, list[Traced]] = {}
    for one in sorted(traces.traced, key=lambda one: (one.case.curve.sort_key, one.case.depth)):
        groups.setdefault(one.case.group, []).append(one)
    body: list[Block] = _introduction(data) if groups else []
    room = MOST_BYTES
    for number, group in enumerate((g for g in data.regimes if g in groups), start=1):
        regime, drawing = data.regimes[group], None
        if room >= LEAST_BYTES:
            drawing = picture(f"timeline-{number}", groups[group], regime.full, data.looks)
        crowded = room < LEAST_BYTES or (drawing is not None and drawing.size > room)
        drawing = None if crowded else drawing
        room -= drawing.size if drawing else 0
        opened = len(groups) <= 4
        body.append(_group(data, regime, groups[group], drawing, crowded, opened))
    if groups:
        body += [html.heading("To look for yourself"), html.text(html.rich(_TOOLS))]
    if traces.others:
        link = '<a download href="{}"><bdi>{}</bdi></a>'
        links = html.joined(", ", [html.rich(link, _link(file), file) for file in traces.others])
        body.append(html.text(html.rich("Traces of cases without a record: {}.", links)))
    missing: dict[str, list[str]] = {}
    for case, reason in traces.missing:
        missing.setdefault(reason, []).append(case.id)
    for reason, cases in missing.items():
        words = 'No timeline of {}: {}. <span class="small">{}</span>'
        names = html.prose(", ".join(cases), 200)
        body.append(
            html.text(html.rich(words, count(len(cases), "case"), html.prose(reason, 400), names))
        )
    nav = "Timelines" if groups else ""
    return [Section("timelines", "What ran when", body, nav)] if body else []


def absent(timelines: Sequence[Timeline]) -> list[str]:
    """Say which quantities no whole timeline has a value for, by the reason."""
    whole = [timeline for timeline in timelines if timeline.kind != INCOMPLETE]
    reasons: dict[str, list[str]] = {}
    for name, head, *_ in QUANTITIES if whole else ():
        if all(getattr(timeline, name) is None for timeline in whole):
            for reason in dict.fromkeys(one.null_reasons.get(name, "") for one in whole):
                reasons.setdefault(reason, []).append(head)
    return [f"{', '.join(heads)}: n/a, {reason}" for reason, heads in reasons.items()]


def _introduction(data: ReportData) -> list[Block]:
    profiles = [one.profile for one in data.traces.traced if one.profile]
    slower = sorted(profile.slowdown for profile in profiles if profile.slowdown)
    words = (
        "One call of a net under PyTorch's profiler, taken after all timing. A latency says how "
        "long; this says why."
    )
    if slower:
        how = f"{times(median(slower))} in the median, {times(slower[-1])} at most"
        words += f" The profiler makes calls longer ({how}), so no time here is a result."
    on_gpu = data.basis == "device"
    what = "kernels" if on_gpu else "operations"
    kernels = chart(
        "kernels",
        f"{upper_first(what)} against depth",
        _TRACED.format(device="the GPU" if on_gpu else "the CPU"),
        series.traced_operations(data.rows),
        Axis(f"{what} per call", what, GROWTH),
        data.looks,
        data.regimes,
    )
    return [html.text(words), *([kernels] if kernels else [])]


def _group(
    data: ReportData,
    regime: Conditions,
    traced: list[Traced],
    drawing: Picture | None,
    crowded: bool,
    opened: bool,
) -> Block:
    curves: dict[str, dict[int, Traced]] = {}
    for one in traced:
        curves.setdefault(one.case.curve_id, {})[one.case.depth] = one
    said = []
    for depths in curves.values():
        curve = next(iter(depths.values())).case.curve
        together = along({depth: one.view.timeline for depth, one in depths.items()})
        number = data.looks[curve.label].number
        item = '<li data-line="{}">{}: {}.</li>\n'
        told = html.prose(together.words, 400)
        said.append(html.rich(item, number, html.method(curve), told))
    body: list[Block] = [html.rich('<ul class="found">\n{}</ul>', html.joined("", said))]
    if any(one.partly_unseen for one in traced):
        body.append(html.text(_UNSEEN))
    if drawing:
        body += [html.text(_how_to_read(drawing)), html.legend(drawing.kinds)]
        body.append(html.drawing(drawing.gantt, f"Timelines, {regime.full}"))
        if drawing.memory:
            words = "Memory that the same calls hold beyond what was in use when they began."
            body += [html.text(words), html.legend(drawing.curves)]
            body.append(html.drawing(drawing.memory, f"Live memory, {regime.full}"))
    elif crowded:
        words = "Not drawn: the picture is too large for the room that is left on this page."
        body.append(html.text(words))
    timelines = [one.view.timeline for one in traced]
    shown = [q for q in QUANTITIES if any(getattr(one, q[0]) is not None for one in timelines)]
    remarks = [html.text(f"{upper_first(remark)}.") for remark in absent(timelines)]
    term = "<div><dt>{}</dt><dd>{}</dd></div>\n"
    meanings = html.joined("", [html.rich(term, head, meaning) for _, head, _, meaning in shown])
    terms = html.rich('<dl class="terms">\n{}</dl>', meanings)
    numbers = _numbers(data, regime, traced, shown)
    body.append(Fold("Numbers and traces", [numbers, terms, *remarks]))
    tally, look = count(len(traced), "timeline"), "regime timelines"
    return regime.fold(body, tally, opened, **{"class": look})


def _how_to_read(drawing: Picture) -> str:
    words = [f"At depth {drawing.depth}, on one axis."]
    if any(lane.parts for row in drawing.rows for lane in row.lanes):
        words.append(
            "The strip above the operations numbers the layer or branch they belong to, as the "
            "trace does; the replay of a graph, the backward pass and the optimiser have none."
        )
    if any(row.launches for row in drawing.rows):
        words.append("Upright ticks are the host's launches.")
    if len(drawing.rows) > 1:
        words.append("The dotted line is where the uppermost net has ended.")
    if not drawing.exact:
        words.append(
            "Where there are too many operations, each column shows what ran longest in it, for "
            "as long as anything ran."
        )
    if not drawing.left_out:
        return " ".join(words)
    gone = html.prose("; ".join(drawing.left_out))
    return html.rich("{} Without a whole timeline at this depth: {}.", " ".join(words), gone)


def _numbers(
    data: ReportData, regime: Conditions, traced: list[Traced], shown: list[Quantity]
) -> Block:
    def value(one: Traced, quantity: Quantity) -> Cell | str | None:
        name, _, written, _ = quantity
        timeline = one.view.timeline
        if timeline.kind == INCOMPLETE:  # the first cell reaches over all of them
            first = quantity is shown[0]
            return Cell(say(timeline), "", None, {"colspan": len(shown)}) if first else None
        number = getattr(timeline, name)
        return NONE if number is None else written(number)

    def link(one: Traced) -> str:
        words = '<a download href="{}" title="{}">{}</a>{}'
        lost = "" if shown else html.rich(" {}", html.prose(say(one.view.timeline)))
        return html.rich(words, _link(one.file), one.file, size(one.bytes), lost)

    columns: list[Column[Traced]] = [
        Column("method", lambda one: html.method(one.case.curve)),
        Column("depth L", lambda one: str(one.case.depth)),
        *(Column(q[1], partial(value, quantity=q), title=q[3]) for q in shown),
        Column(
            "profiler",
            lambda one: times(one.profile.slowdown if one.profile else None),
            title="time of a call under the profiler over without it",
        ),
        Column("trace", link),
    ]
    return Table(
        columns,
        traced,
        look="values",
        label=f"Timelines in numbers, {regime.full}",
        attributes=lambda one: data.of(one.case.curve),
    )


def _link(file: str) -> str:
    """Return a path as a link, whatever bytes its name holds."""
    return quote(os.fsencode(file))
