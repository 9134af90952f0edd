"""The section about timelines: what it says of traces whose truth is known, and its pictures."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from paraformer_bench.report.build import build_report
from paraformer_bench.report.figures import lanes, style, timeline
from paraformer_bench.report.figures.lanes import JOIN, TOGETHER, Bar, Stretch
from paraformer_bench.report.figures.timeline import GanttRow, MemoryCurve, Picture
from paraformer_bench.report.sections import timelines
from paraformer_bench.report.traces import Traced
from paraformer_bench.timeline.kinds import COPY, ELEMENTWISE, KINDS, OTHER, PRODUCT
from paraformer_bench.timeline.metrics import examine
from tests.report.gpu_run import WAYS, write_trace
from tests.traces import Builder

DEPTHS = (1, 16)
MAIN = "width 192 · batch 1 · 197 tokens · float32 · cuda:0 · inference · whole net"


@pytest.fixture
def run(make: Any, tmp_path: Path) -> Callable[..., Path]:
    """A run folder with the records of every way to run, and with the traces of these depths."""

    def write(traced: tuple[int, ...] = DEPTHS, **fields: Any) -> Path:
        records = [
            record
            for model, execution, runtime in WAYS
            for record in make.curve(
                lambda depth: 1e-3 * depth,
                (1, 4, 16),
                gpu=True,
                model=model,
                execution=execution,
                runtime=runtime,
                device="cuda:0",
            )
        ]
        folder: Path = make.run(tmp_path / "run", records, make.info(**fields))
        for case in {record.case for record in records}:
            if case.depth in traced:
                write_trace(folder, case)
        return folder

    return write


def section(page: Any) -> str:
    found = re.search(r'<section id="timelines">.*?</section>', page.source, re.DOTALL)
    assert found
    return found[0]


def picture_of(page: Any) -> str:
    [drawing] = [svg for svg in page.svgs if "Timelines at depth" in svg]
    return str(drawing)


def texts(drawing: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing)


def test_every_curve_is_called_what_it_is(make: Any, run: Callable[..., Path]) -> None:
    text = make.page(build_report(run())).text
    for line, words in {
        "serial loop , eager": "one operation after another, and with depth more of them (12 more",
        "paraformer loop , eager": "one operation after another, and with depth more of them (12",
        "paraformer streams , eager": "operations ran side by side: 8.00 at once on average; 12",
        "paraformer stacked , eager": "one operation after another and hardly more of them at",
        "paraformer stacked , graph": "one operation after another and hardly more of them at",
    }.items():
        assert f"{line} : {words}" in text, line


def test_picture_shows_every_layer_and_branch_at_depth_16(
    make: Any, run: Callable[..., Path]
) -> None:
    drawing = picture_of(make.page(build_report(run())))
    said = texts(drawing)
    labels = [text for text in said if re.search(r", (eager|graph)$", text)]
    assert labels == [
        "serial loop, eager",
        "paraformer loop, eager",
        "paraformer stacked, eager",
        "paraformer stacked, graph",
        "paraformer streams, eager",
    ]
    serial, loop, stacked, _, streams = (said.index(label) for label in labels)
    numbers = [str(number) for number in range(16)]
    for part in (said[serial:loop], said[loop:stacked], said[streams:]):
        assert [text for text in part if text in numbers] == numbers
    assert said[serial:loop].count("layer") == said[loop:stacked].count("branch") == 1
    assert "all branches" in said[stacked:streams]
    assert "192 kernels in 965 µs on 1 stream" in said
    assert "12 kernels in 106 µs, replays of a CUDA graph" in said


def test_picture_has_the_colours_of_all_kinds_in_it(make: Any, run: Callable[..., Path]) -> None:
    page = make.page(build_report(run()))
    shown = [
        kind
        for kind in KINDS
        if f"</svg> <bdi>{kind}</bdi>\n" in section(page).replace("</li>", "\n")
    ]
    assert shown == [kind for kind in KINDS if kind != OTHER]


def test_numbers_of_a_timeline_stand_under_their_heads(
    make: Any, run: Callable[..., Path]
) -> None:
    html = section(make.page(build_report(run())))
    table = html[html.index("Timelines in numbers") :]
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', table)
    rows = [
        re.findall(r"<td[^>]*>(.*?)</td>", row)
        for row in re.findall(r"<tr data-line=\"\d+\"><th scope=\"row\">.*?</tr>", table)
    ]
    assert len(rows) == 10
    streams = dict(zip(heads[1:], rows[9], strict=True))
    assert streams["depth L"] == "16"
    assert (streams["kernels"], streams["at once"], streams["streams"]) == ("192", "8.00", "16")
    # Twelve equal kernels on each of 16 streams, of which two in a row start after one another
    # but for the last branch's: 24 make the longest chain.
    assert (streams["chain"], streams["chain share"]) == ("24", "12%")
    graph = dict(zip(heads[1:], rows[7], strict=True))
    assert (graph["kernels"], graph["streams"], graph["blocks per SM"]) == ("12", "–", "4.00")
    serial = dict(zip(heads[1:], rows[1], strict=True))
    assert serial["branches overlap"] == "–"
    assert serial["live peak"] == "0 MiB"


def test_kernels_against_depth_is_a_table_too(make: Any, run: Callable[..., Path]) -> None:
    html = section(make.page(build_report(run())))
    row = re.search(r"paraformer stacked, graph</bdi></th>(.*?)</tr>", html)
    assert row
    assert re.findall(r"<td>(.*?)</td>", row[1]) == ["12", "12"]
    row = re.search(r"serial loop, eager</bdi></th>(.*?)</tr>", html)
    assert row
    assert re.findall(r"<td>(.*?)</td>", row[1]) == ["12", "192"]


def test_numbers_are_kept_beside_the_page(run: Callable[..., Path]) -> None:
    folder = run()
    build_report(folder)
    kept = json.loads((folder / "timelines.json").read_text("utf-8"))
    assert len(kept) == 10
    by_id = {entry["case_id"]: entry for entry in kept}
    one = by_id["paraformer-stacked-graph-d16-w192-b1-t197-float32-cuda0-inference-whole"]
    assert (one["kernels"], one["graph"], one["case"]["depth"]) == (12, True, 16)
    assert (folder / one["file"]).exists()


def test_same_bytes_when_built_twice(run: Callable[..., Path]) -> None:
    folder = run()
    first = build_report(folder).read_bytes()
    assert build_report(folder).read_bytes() == first


def test_no_traces_no_section(make: Any, run: Callable[..., Path]) -> None:
    folder = run(traced=())
    page = make.page(build_report(folder))
    assert "timelines" not in page.ids
    assert not (folder / "timelines.json").exists()


def test_incomplete_trace_says_so_and_keeps_its_download(
    make: Any, run: Callable[..., Path]
) -> None:
    folder = run()
    for path in folder.glob("traces/paraformer-streams*/*"):
        path.write_bytes(path.read_bytes()[:500])
    page = make.page(build_report(folder))
    reason = "trace incomplete: the packed trace is cut off or damaged"
    assert f"paraformer streams , eager : {reason}" in page.text
    assert "paraformer streams, eager" not in texts(picture_of(page))
    links = {attributes.get("href", "") for tag, attributes in page.tags if tag == "a"}
    assert len([link for link in links if link.startswith("traces/paraformer-streams")]) == 2


def test_all_incomplete(make: Any, run: Callable[..., Path]) -> None:
    folder = run()
    for path in folder.glob("traces/*/*"):
        path.write_bytes(b"")
    page = make.page(build_report(folder))
    assert page.text.count("the trace is empty") >= 10
    assert not [svg for svg in page.svgs if "Timelines at depth" in svg]


def test_cases_without_a_trace_are_named_with_the_reason(
    make: Any, run: Callable[..., Path]
) -> None:
    reason = "<b>its</b> trace takes 12 MB"
    name = "serial-loop-eager-d{}-w192-b1-t197-float32-cuda0-inference-whole"
    profiles: Mapping[str, Any] = {
        name.format(4): {"file": None, "reason": reason},
        name.format(1): {
            "file": f"traces/{name.format(1)}/cuda0.1.pt.trace.json.gz",
            "seconds_per_call_profiled": 3.0,
            "seconds_per_call_unprofiled": 2.0,
        },
        name.format(16): {"file": "traces/gone/cuda0.2.pt.trace.json.gz"},
    }
    page = make.page(build_report(run(traced=(1,), profiles=profiles)))
    assert f"No timeline of 1 case: {reason} ." in page.text
    assert "its trace is not kept beside this page" in page.text
    assert "<b>its</b>" not in page.source
    assert "1.50× in the median" in page.text


def test_nonsense_about_profiles_is_no_error(run: Callable[..., Path]) -> None:
    for profiles in ([1], {"a": 3}, "x", None):
        build_report(run(traced=(), profiles=profiles))


def test_traces_without_a_record_can_be_downloaded(make: Any, run: Callable[..., Path]) -> None:
    folder = run()
    path = folder / "traces" / "a case" / "x.pt.trace.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(b"{}"))
    page = make.page(build_report(folder))
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    assert "traces/a%20case/x.pt.trace.json.gz" in links


def test_pictures_beyond_the_room_are_left_out(
    make: Any, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run()
    page = make.page(build_report(folder))
    drawn = sum(len(svg.encode()) for svg in page.svgs if 'id="timeline-' in svg)
    assert 5_000 < drawn < 60_000
    for room in (drawn // 2, timelines.LEAST_BYTES - 1):
        monkeypatch.setattr(timelines, "MOST_BYTES", room)
        page = make.page(build_report(folder))
        assert "Not drawn: the picture is too large for the room that is left" in page.text
        assert not [svg for svg in page.svgs if "Timelines at depth" in svg]


@pytest.mark.parametrize(
    ("serial", "others", "chosen"),
    [
        ([1, 16], [1, 16], 16),
        ([1, 64], [1, 64], 64),
        ([1, 4, 16, 64], [1, 4, 16, 64], 16),
        ([1, 32, 64], [1, 32, 64], 32),
        ([1, 16], [1, 16, 1], 16),
        ([1, 16], [1, 4, 1, 4], 4),
        ([], [1, 4, 1, 4], 4),
        ([48], [], 48),
        ([1], [1], 1),
    ],
)
def test_depth_that_is_drawn(serial: list[int], others: list[int], chosen: int) -> None:
    timelines_of = [(True, depth) for depth in serial] + [(False, depth) for depth in others]
    assert timeline.depth_to_draw(timelines_of) == chosen


def test_one_lost_trace_does_not_change_the_depth(make: Any, run: Callable[..., Path]) -> None:
    folder = run()
    for path in folder.glob("traces/paraformer-streams-eager-d16*/*"):
        path.write_bytes(b"")
    page = make.page(build_report(folder))
    assert "At depth 16, on one axis." in page.text
    assert "Without a whole timeline at this depth: paraformer streams, eager ." in page.text


def operations(*rows: tuple[float, float, str], **parts: list[int]) -> pd.DataFrame:
    """Operations on one lane: start and end in seconds, and name."""
    frame = pd.DataFrame(rows, columns=["start_seconds", "end_seconds", "name"])
    for column in ("place", "layer", "branch"):
        frame[column] = parts.get(column, [-1] * len(rows))
    return frame.assign(operation=frame["name"], lane="one")


def test_bars_of_one_kind_grow_together_where_nobody_sees_the_gap() -> None:
    held = operations(
        (0.0, 1.0, "aten::addmm"),
        (1.02, 2.0, "aten::mm"),
        (2.05, 3.0, "aten::bmm"),
        (3.0, 4.0, "aten::add"),
        (5.0, 5.0, "aten::copy_"),
    )
    [lane] = lanes.lanes(held, 10.0, 0.1)
    assert lane.exact
    assert lane.bars == [
        Bar(0.0, 2.0, PRODUCT),
        Bar(2.05, 3.0, PRODUCT),
        Bar(3.0, 4.0, ELEMENTWISE),
        Bar(5.0, 5.025, COPY),  # long enough to be seen
    ]


def test_columns_show_what_ran_longest_for_as_long_as_anything_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "MOST_EXACT", 3)
    monkeypatch.setattr(lanes, "_FEWEST_COLUMNS", 10)
    held = operations(
        (10.0, 10.7, "aten::mm"),
        (10.7, 11.2, "aten::add"),
        (11.2, 12.0, "aten::mm"),
        (13.4, 14.0, "aten::copy_"),
        (15.0, 15.1, "aten::copy_"),
    )
    [lane] = lanes.lanes(held, 10.0, 0.01)
    assert not lane.exact
    spans = [(bar.kind, round(bar.start, 9), round(bar.end, 9)) for bar in lane.bars]
    assert spans == [(PRODUCT, 10.0, 12.0), (COPY, 13.0, 13.6), (COPY, 15.0, 15.25)]


def test_a_row_of_many_short_operations_is_as_full_as_the_device_was() -> None:
    """A device that waits for the host is busy for a third of the time, in the picture too."""
    every = [(6e-6 * n, 6e-6 * n + 2e-6, "aten::add") for n in range(3_000)]
    [lane] = lanes.lanes(operations(*every), 0.018, 0.018 / 2_000)
    busy = sum(bar.end - bar.start for bar in lane.bars)
    assert busy / 0.018 == pytest.approx(1 / 3, abs=0.01)


def test_all_lanes_of_a_row_together_are_bounded() -> None:
    rows = [
        (1e-6 * n, 1e-6 * n + 9e-7, "aten::mm" if n % 2 else "aten::add") for n in range(9_000)
    ]
    held = operations(*rows).assign(lane=[n % 30 for n in range(9_000)])
    found = lanes.lanes(held, 0.009, 1e-6)
    assert len(found) == 30
    assert sum(len(lane.bars) for lane in found) <= 30 * (lanes._FEWEST_COLUMNS + 1)


def test_parts_of_a_lane() -> None:
    held = operations(
        (0, 1, "aten::mm"),
        (1, 2, "aten::mm"),
        (2, 3, "aten::mm"),
        (3, 4, "aten::add"),
        (4, 5, "aten::mm"),
        (5, 6, "aten::mm"),
        (6, 7, "aten::mm"),
        place=[-1, 0, 0, 0, 0, 1, -1],
        branch=[-1, 0, 0, -1, 1, -1, -1],
        layer=[0, -1, -1, -1, -1, -1, -1],
    )
    [lane] = lanes.lanes(held, 10.0, 0.1)
    assert lane.parts == [
        Stretch(0, 1, "layer", 0),
        Stretch(1, 3, "branch", 0),
        Stretch(3, 4, JOIN),
        Stretch(4, 5, "branch", 1),
        Stretch(5, 6, TOGETHER),
    ]


def test_memory_keeps_its_peaks_when_points_are_too_many() -> None:
    number = 50_000
    values = [1_000] * number
    values[777] = 9_000
    memory = pd.DataFrame({"seconds": [n / number for n in range(number)], "live_bytes": values})
    curve = MemoryCurve("serial loop, eager", memory, 1.0)
    times, levels = timeline.corners(curve, 1.0)
    assert len(times) == len(levels) <= timeline.MOST_POINTS + 3
    assert levels.max() == curve.peak == 9_000
    assert (times[0], levels[0], times[-1]) == (0.0, 0.0, 1.0)
    assert abs(times[levels.argmax()] - 777 / number) < 2 / timeline.MOST_POINTS


def test_a_peak_does_not_stand_until_the_next_change() -> None:
    """Where points are too many, a burst within one column ends with what is left of it."""
    number = 1_000
    burst = [(n / number / 1e6, n if n < number - 1 else 5) for n in range(number)]
    memory = pd.DataFrame([*burst, (0.9, 7)], columns=["seconds", "live_bytes"])
    curve = MemoryCurve("serial loop, eager", memory, 1.0)
    times, levels = timeline.corners(curve, 1.0)
    assert levels.max() == number - 2
    before = [level for time, level in zip(times, levels, strict=True) if 0.1 > time > 0]
    assert before[-1] == 5
    assert levels[-1] == 7


def lines_of(figure: Any) -> list[Any]:
    return list(figure.axes[0].lines)


def spans(line: Any) -> list[tuple[float, float]]:
    """Starts and ends of the pieces of a broken line."""
    xs = [float(x) for x in line.get_xdata()]
    return [(xs[place], xs[place + 1]) for place in range(0, len(xs), 3)]


def gantt_row(*bars: Bar, parts: list[Stretch] | None = None, lanes_of: int = 1, **f: Any) -> Any:
    one = lanes.Lane(list(bars), parts or [], True)
    return GanttRow("who", "what", [one] * lanes_of, f.get("launches", []))


@pytest.mark.parametrize("lanes_of", [1, 3])
def test_bars_are_drawn_where_operations_were(lanes_of: int) -> None:
    bars = (Bar(1.0, 2.0, PRODUCT), Bar(3.0, 4.0, COPY), Bar(6.0, 9.0, PRODUCT))
    with style.drawing():
        figure = timeline.draw_gantt([gantt_row(*bars, lanes_of=lanes_of)], 10.0)
    assert figure.axes[0].get_xlim() == (0.0, 10.0)
    for kind, expected in ((PRODUCT, [(1.0, 2.0), (6.0, 9.0)]), (COPY, [(3.0, 4.0)])):
        drawn = [x for x in lines_of(figure) if x.get_color() == timeline.COLOURS[kind]]
        assert [spans(line) for line in drawn] == [expected] * lanes_of
        assert len({line.get_ydata()[0] for line in drawn}) == lanes_of


def test_launches_and_the_end_of_the_first_row_are_drawn() -> None:
    rows = [
        gantt_row(Bar(0.0, 7.0, PRODUCT), launches=[0.5, 1.5]),
        gantt_row(Bar(0.0, 4.0, PRODUCT)),
        gantt_row(Bar(0.0, 4.0, PRODUCT)),
    ]
    with style.drawing():
        figure = timeline.draw_gantt(rows, 10.0)
    thin = [line for line in lines_of(figure) if line.get_linewidth() == 0.5]
    assert [spans(line) for line in thin] == [[(0.5, 0.5), (1.5, 1.5)]]
    dotted = [line for line in lines_of(figure) if line.get_linestyle() == ":"]
    assert [spans(line) for line in dotted] == [[(7.0, 7.0)] * 2]
    with style.drawing():
        alone = timeline.draw_gantt(rows[:1], 10.0)
    assert not [line for line in lines_of(alone) if line.get_linestyle() == ":"]


def test_of_too_many_numbers_every_nth_is_written() -> None:
    parts = [Stretch(n / 200, (n + 0.9) / 200, "layer", n) for n in range(200)]
    with style.drawing():
        figure = timeline.draw_gantt([gantt_row(Bar(0.0, 1.0, PRODUCT), parts=parts)], 1.0)
    numbers = [int(text.get_text()) for text in figure.axes[0].texts if text.get_text().isdigit()]
    step = numbers[1] - numbers[0]
    assert step > 1
    assert numbers == list(range(0, 200, step))


def test_memory_is_drawn_to_its_peak(make: Any) -> None:
    curve = make.case().curve
    memory = pd.DataFrame({"seconds": [1.0, 2.0], "live_bytes": [5 * 2**20, -(2**20)]})
    with style.drawing():
        memories = [MemoryCurve(curve.label, memory, 3.0)]
        figure = timeline.draw_memory(memories, 4.0, style.looks([curve]))
    drawn = next(x for x in lines_of(figure) if x.get_drawstyle() == "steps-post")
    assert list(drawn.get_xdata()) == [0.0, 1.0, 2.0, 3.0]
    assert list(drawn.get_ydata()) == [0.0, 5.0, -1.0, -1.0]


def test_release_after_the_last_operation_is_on_the_axis(tmp_path: Path, make: Any) -> None:
    builder = Builder(tmp_path)

    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000)
        builder.kernel(0, 3_000, 10_000)
        builder.memory(2_000, 4 << 20, device_type=1)
        builder.memory(60_000, -(4 << 20), device_type=1)

    traced = drawable(builder.steps(fill).write(), make)
    drawing = drawn_alone(traced)
    assert drawing is not None
    assert drawing.memory is not None
    xs = [float(x) for x in re.findall(r"[MLH](-?[\d.]+)", drawing.memory)]
    assert max(xs) <= 930


def test_a_device_whose_clock_is_behind_begins_at_zero(tmp_path: Path, make: Any) -> None:
    builder = Builder(tmp_path)

    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000)
        builder.kernel(0, -50_000, -20_000)
        builder.kernel(0, -10_000, -5_000)

    traced = drawable(builder.steps(fill).write(), make)
    drawing = drawn_alone(traced)
    assert drawing is not None
    assert "2 kernels in 45.0 µs" in drawing.gantt
    assert not re.search(r">-\d", drawing.gantt)


def host_alone(folder: Path) -> None:
    """Write a trace with one operation of the host in each step."""
    builder = Builder(folder)
    builder.steps(lambda step: builder.add("cpu_op", "aten::mm", 1_000, 2_000)).write()


def drawable(path: Path, make: Any) -> Traced:
    """A trace as the picture wants it."""
    traced = Traced(make.case(device="cuda:0"), path.name, 1, None, examine(path, on_gpu=True))
    assert traced.view.timeline.reason == ""
    return traced


def drawn_alone(traced: Traced) -> Picture | None:
    return timeline.picture("t", [traced], "here", style.looks([traced.case.curve]))


def test_many_streams_at_great_depth_are_drawn(tmp_path: Path, make: Any) -> None:
    builder = Builder(tmp_path)

    def fill(step: int) -> None:
        builder.mark("branches/0", 0, 90_000_000)
        for number in range(64 * 33 * 4):
            branch = number // (33 * 4)
            start = 2_000 * number
            if number % (33 * 4) == 0:
                builder.branch(branch, start, start + 2_000 * 33 * 4 - 10)
            builder.call(number, start, start + 500)
            builder.kernel(number, start + 600, start + 40_000, stream=7 + number % 33)

    lengths = (90_000_000, 90_000_001, 90_000_003, 90_000_002)
    traced = drawable(builder.steps(fill, lengths).write(), make)
    drawing = drawn_alone(traced)
    assert drawing is not None
    assert not drawing.exact
    assert drawing.size < 150_000


def test_a_trace_of_the_host_alone_says_nothing_of_a_gpu(
    make: Any, run: Callable[..., Path]
) -> None:
    folder = run()
    for path in folder.glob("traces/paraformer-stacked-eager-d16*/*"):
        host_alone(path.parent)
    page = make.page(build_report(folder))
    assert "it holds nothing that ran on the GPU" in page.text
    kept = json.loads((folder / "timelines.json").read_text("utf-8"))
    [one] = [e for e in kept if e["case_id"].startswith("paraformer-stacked-eager-d16")]
    assert (one["kind"], one["kernels"]) == ("incomplete", None)


def test_what_a_compiler_made_is_not_counted_on_a_cpu(make: Any, tmp_path: Path) -> None:
    def write(device: str) -> Any:
        records = make.curve(lambda depth: 1e-3, (1, 2), runtime="compile", device=device)
        folder = make.run(tmp_path / device.replace(":", ""), records)
        for case in {record.case for record in records}:
            host_alone(folder / "traces" / case.id)
        return make.page(build_report(folder))

    page = write("cpu")
    assert "loops that the compiler made leave gaps, and are not counted" in page.text
    assert "Operations against depth" not in page.text
    assert "loops that the compiler made" not in write("cuda:0").text


@pytest.mark.parametrize(
    "profile",
    [
        {"file": 3},
        {"reason": ["a"]},
        {"reason": {"a": 1}},
        {"seconds_per_call_profiled": "3", "seconds_per_call_unprofiled": "2"},
        {"steps": None, "bytes": "many"},
    ],
)
def test_nonsense_within_a_profile_is_no_error(
    make: Any, run: Callable[..., Path], profile: dict[str, Any]
) -> None:
    name = "serial-loop-eager-d1-w192-b1-t197-float32-cuda0-inference-whole"
    file = f"traces/{name}/cuda0.1.pt.trace.json.gz"
    build_report(run(profiles={name: {"file": file} | profile}))


def test_files_that_are_none_and_odd_names_are_no_error(
    make: Any, run: Callable[..., Path]
) -> None:
    folder = run()
    [case] = folder.glob("traces/serial-loop-eager-d1-*")
    (case / "gone.pt.trace.json.gz").symlink_to("nowhere")
    (case / "folder.pt.trace.json.gz").mkdir()
    odd = folder / "traces" / "other"
    odd.mkdir()
    try:
        Path(os.fsdecode(os.fsencode(odd) + b"/\xff.pt.trace.json.gz")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    page = make.page(build_report(folder))
    assert "traces/other/%FF.pt.trace.json.gz" in page.source


def test_hostile_names_in_a_picture_stay_text(make: Any, tmp_path: Path) -> None:
    name = "<b>\x07$\\frac{" + "x" * 120
    records = [
        record
        for model in ("serial", name)
        for record in make.curve(lambda depth: 1e-3, (1, 2), model=model)
    ]
    folder = make.run(tmp_path, records)
    for case in {record.case for record in records}:
        host_alone(folder / "traces" / case.id)
    page = make.page(build_report(folder))
    for svg in page.svgs:
        ElementTree.fromstring(svg)
