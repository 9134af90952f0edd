"""Several runs on one page: what they share, how they differ, and what they do not share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.report.side_by_side import MOST_RUNS, write_side_by_side
from paraformer_bench.study.errors import UsageError


def test_devices_stand_on_the_same_axes(make: Any, tmp_path: Path) -> None:
    cpu = make.run(tmp_path / "cpu", make.study(), make.info(name="on the CPU"))
    gpu = make.run(
        tmp_path / "gpu",
        make.study(device="cuda:0", gpu=True),
        make.info(name="on the GPU", versions={"torch": "2.11.0"}),
    )
    path = write_side_by_side([cpu, gpu])
    assert path == tmp_path / "side-by-side" / "cpu--gpu.html"
    page = make.page(path)
    assert "2 runs side by side" in page.text
    assert "torch 2.13.0" in page.text
    assert "torch 2.11.0" in page.text
    assert "It shares no measured case with A" in page.text
    figures = [svg for svg in page.svgs if "Latency against depth" in svg]
    assert len(figures) == 3
    for figure in figures:
        assert "A: on the CPU: " in figure
        assert "B: on the GPU: " in figure
    titles = re.findall(r"<figcaption><bdi>(.*?)</bdi>", page.source)
    assert titles == [
        "serial loop, eager (wall clock)",
        "paraformer loop, eager (wall clock)",
        "paraformer stacked, eager (wall clock)",
    ]
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    assert {"../cpu/index.html", "../gpu/index.html", "../index.html"} <= links


def test_device_time_decides_where_all_have_it(make: Any, tmp_path: Path) -> None:
    runs = [
        make.run(tmp_path / name, make.study(device="cuda:0", gpu=True)) for name in ("a", "b")
    ]
    page = make.page(write_side_by_side(runs))
    assert "serial loop, eager (device time)" in page.text
    assert re.search(r"Against A: Of 12 cases: 12 (unclear|the same)\.", page.text)


def test_verdicts_stand_beside_each_other(make: Any, tmp_path: Path) -> None:
    constant = make.curve(lambda depth: 1e-3, model="paraformer", execution="stacked")
    grows = make.curve(lambda depth: 1e-3 * depth, model="paraformer", execution="stacked")
    alone = make.curve(lambda depth: 1e-3, model="paraformer", execution="vmap")
    runs = [make.run(tmp_path / "a", constant + alone), make.run(tmp_path / "b", grows)]
    page = make.page(write_side_by_side(runs))
    assert "→ constant, L = 8 of 8" in page.text
    assert "↗ grows, L = 1 of 8" in page.text
    assert "1 curve that one run alone has is left out." in page.text
    assert re.search(r"Against A: Of 8 cases: 3 slower, .*4 in A alone\.", page.text)


def test_runs_that_share_nothing_say_so(make: Any, tmp_path: Path) -> None:
    runs = [make.run(tmp_path / "a", make.study()), make.run(tmp_path / "b", [])]
    page = make.page(write_side_by_side(runs))
    assert "No two of these runs have a curve in common." in page.text


def test_hostile_names_stay_text(make: Any, tmp_path: Path) -> None:
    name = '<script>alert("1")</script>\u202e' + "x" * 10_000
    info = make.info(name=name, versions={"torch": name})
    runs = [make.run(tmp_path / folder, make.study(), info) for folder in ("a", "b")]
    page = make.page(write_side_by_side(runs))
    assert '<script>alert("1")' not in page.source


def test_how_many(make: Any, tmp_path: Path) -> None:
    run = make.run(tmp_path / "a", make.study())
    with pytest.raises(UsageError, match=f"2 to {MOST_RUNS} runs, not 1"):
        write_side_by_side([run, run])


def test_command_writes_it_for_several_named_runs(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make.run(tmp_path / name, make.study(depths=(1, 2))) for name in ("a", "b")]
    assert main(["report", *map(str, runs)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == str(tmp_path / "side-by-side" / "a--b.html")
    assert main(["report", str(runs[0])]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
