"""The section about timelines: what it says of traces whose truth is known, and its pictures."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paraformer_bench.report import lanes, live_memory, timeline_picture, timelines
from paraformer_bench.report.build import build_report
from paraformer_bench.report.lanes import JOIN, TOGETHER, Bar, Part
from paraformer_bench.report.series import Line
from paraformer_bench.timeline.kinds import COPY, ELEMENTWISE, KINDS, OTHER, PRODUCT
from tests.report.gpu_run import WAYS, write_trace

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


def gantt(page: Any) -> str:
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
        "paraformer stacked , eager": "one operation after another and no more of them at greater",
        "paraformer stacked , graph": "one operation after another and no more of them at greater",
    }.items():
        assert f"{line} : {words}" in text, line


def test_picture_shows_every_layer_and_branch_at_depth_16(
    make: Any, run: Callable[..., Path]
) -> None:
    drawing = gantt(make.page(build_report(run())))
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
    shown = [kind for kind in KINDS if f"</svg> {kind}\n" in section(page).replace("</li>", "\n")]
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
    assert "paraformer streams, eager" not in texts(gantt(page))
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
    monkeypatch.setattr(timelines, "MOST_BYTES", drawn // 2)
    page = make.page(build_report(folder))
    assert "Not drawn: the pictures above fill the room" in page.text
    assert not [svg for svg in page.svgs if "Timelines at depth" in svg]


@pytest.mark.parametrize(
    ("depths", "chosen"),
    [
        ([1, 16, 1, 16], 16),
        ([1, 64, 1, 64], 64),
        ([1, 4, 16, 64] * 2, 16),
        ([1, 2, 64] * 2, 2),
        ([1, 16, 1, 16, 1], 1),
        ([1, 16, 1, 16, 64], 16),
        ([48], 48),
    ],
)
def test_depth_that_is_drawn(depths: list[int], chosen: int) -> None:
    assert timeline_picture._depth(depths) == chosen


def operations(*rows: tuple[float, float, str], **parts: list[int]) -> pd.DataFrame:
    """Operations on one lane: start and end in seconds, and name."""
    frame = pd.DataFrame(rows, columns=["start_seconds", "end_seconds", "name"])
    for column in ("place", "layer", "branch"):
        frame[column] = parts.get(column, [-1] * len(rows))
    return frame.assign(operation=frame["name"], lane="one")


def test_bars_of_one_kind_grow_together_where_nobody_sees_the_gap() -> None:
    held = operations(
        (0.0, 1.0, "aten::addmm"),
        (1.05, 2.0, "aten::mm"),
        (2.5, 3.0, "aten::bmm"),
        (3.0, 4.0, "aten::add"),
    )
    [lane] = lanes.lanes(held, 0.1)
    assert lane.exact
    assert lane.bars == [
        Bar(0.0, 2.0, PRODUCT),
        Bar(2.5, 3.0, PRODUCT),
        Bar(3.0, 4.0, ELEMENTWISE),
    ]


def test_columns_show_what_ran_longest_and_idle_ones_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "MOST_EXACT", 3)
    held = operations(
        (10.0, 10.7, "aten::mm"),
        (10.7, 11.2, "aten::add"),
        (11.2, 12.0, "aten::mm"),
        (13.4, 14.0, "aten::copy_"),
    )
    [lane] = lanes.lanes(held, 1.0)
    assert not lane.exact
    assert lane.bars == [Bar(10.0, 12.0, PRODUCT), Bar(13.0, 14.0, COPY)]


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
    [lane] = lanes.lanes(held, 0.1)
    assert lane.parts == [
        Part(0, 1, "layer", 0),
        Part(1, 3, "branch", 0),
        Part(3, 4, JOIN),
        Part(4, 5, "branch", 1),
        Part(5, 6, TOGETHER),
    ]


def test_memory_keeps_its_peaks_when_points_are_too_many() -> None:
    number = 50_000
    values = [1_000] * number
    values[777] = 9_000
    memory = pd.DataFrame({"seconds": [n / number for n in range(number)], "live_bytes": values})
    curve = live_memory.Curve(Line("serial", "loop", "eager"), memory, 1.0)
    times, levels = live_memory._steps(curve, 1.0)
    assert len(times) == len(levels) <= live_memory.MOST_POINTS + 3
    assert levels.max() == curve.peak == 9_000
    assert (times[0], levels[0], times[-1]) == (0.0, 0.0, 1.0)
    assert abs(times[levels.argmax()] - 777 / number) < 1 / live_memory.MOST_POINTS
