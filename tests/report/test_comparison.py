"""The page of a comparison: what differs from the first run, and all runs on the same axes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.report.comparison import (
    LETTERS,
    contend,
    default_path,
    write_comparison,
)
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import read_run


@pytest.fixture
def compared(make: Any, tmp_path: Path) -> Any:
    """Compare run folders and read the page."""

    def compared(*folders: Path) -> Any:
        comparison = contend([read_run(folder) for folder in folders], 0.03)
        return make.page(write_comparison(tmp_path / "deep" / "page.html", comparison))

    return compared


@pytest.fixture
def written(make: Any, tmp_path: Path, compared: Any) -> Any:
    """Compare studies, all but the first with some times multiplied."""

    def written(*factors: float, **changes: Any) -> Any:
        folders = []
        for number, scale in enumerate((1.0, *factors)):
            records = make.study(depths=(1, 4)) + make.study(depths=(1, 4), batch=8)
            for record in records:
                if record.case.execution == "stacked" and record.case.batch == 8:
                    record.wall_seconds = [t * scale for t in record.wall_seconds]
            info = make.info(**(changes if number else {}))
            folders.append(make.run(tmp_path / f"run{number}", records, info))
        return compared(*folders)

    return written


def test_the_answer_stands_first(written: Any) -> None:
    page = written(1.5)
    assert "B is slower in 2 cases." in page.text
    assert "Of 12 cases in A and B: 2 slower, 10" in page.text
    assert page.source.index("SLOWER</span>") < page.source.index("UNCLEAR</span>")
    assert "paraformer stacked, eager" in page.text
    assert "beyond 3%" in page.text


@pytest.mark.parametrize(
    ("factor", "title"),
    [
        (0.5, "B is faster in 2 cases, and slower in none."),
        (1.0, "No case of B is slower or faster for sure."),
    ],
)
def test_other_answers(written: Any, factor: float, title: str) -> None:
    assert title in written(factor).text


def test_every_further_run_is_held_against_the_first(written: Any) -> None:
    page = written(0.5, 1.5)
    assert "Is any of them slower than A?" in page.text
    assert "B is faster in 2 cases, and slower in none. C is slower in 2 cases." in page.text
    assert "Of 12 cases in A and C: 2 slower, 10" in page.text
    assert "C / A" in page.text
    assert "A → C" in page.text
    forests = [svg for svg in page.svgs if "over A: batch" in svg]
    assert len(forests) == 4
    assert sum("time in C over time in A" in svg for svg in forests) == 2


def test_a_figure_a_regime_that_those_can_read_who_cannot_see(written: Any) -> None:
    page = written(1.5)
    assert len([svg for svg in page.svgs if 'id="forest-' in svg]) == 2
    assert sum("paraformer stacked, eager, L = 4: 1.500× SLOWER" in s for s in page.svgs) == 1
    assert len(page.ids) == len(set(page.ids))


def test_what_differs_between_the_runs_is_shown(written: Any) -> None:
    page = written(1.0, versions={"python": "3.11.7", "torch": "2.14.0"}, commit="f" * 40)
    assert "version torch 2.13.0 2.14.0" in page.text
    assert "commit 0123456789ab+changes ffffffffffff" in page.text
    assert "version python" not in page.text


def test_the_page_loads_nothing(written: Any) -> None:
    page = written(1.0)
    assert "default-src 'none'" in page.source
    assert "http://" not in page.source.replace("http://www.w3.org", "")


def test_names_that_are_code_stay_names(make: Any, tmp_path: Path, compared: Any) -> None:
    run = make.run(tmp_path / "a<script>alert(1)<", make.study(depths=(1,)))
    name = '<script>alert("1")</script>\u202e' + "x" * 10_000
    info = make.info(name=name, versions={"torch": name})
    page = compared(run, make.run(tmp_path / "b", make.study(depths=(1,)), info))
    assert "<script>alert" not in page.source


def test_where_it_lies(make: Any, tmp_path: Path) -> None:
    run = read_run(make.run(tmp_path / "a", make.study(depths=(1,))))
    assert default_path(contend([run, run], 0.03)).name == "a--a.html"
    long = read_run(make.run(tmp_path / ("x" * 120), make.study(depths=(1,))))
    assert default_path(contend([long] * 3, 0.03)).name == f"{'x' * 120}--and-2-more.html"


def test_a_page_that_cannot_be_written(make: Any, tmp_path: Path) -> None:
    run = read_run(make.run(tmp_path / "a", make.study(depths=(1,))))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^cannot write "):
        write_comparison(tmp_path / "file" / "p.html", contend([run, run], 0.03))


def test_devices_stand_on_the_same_axes(make: Any, tmp_path: Path, compared: Any) -> None:
    cpu = make.run(tmp_path / "cpu", make.study(), make.info(name="on the CPU"))
    gpu = make.run(
        tmp_path / "gpu",
        make.study(device="cuda:0", gpu=True),
        make.info(name="on the GPU", versions={"torch": "2.11.0"}),
    )
    (cpu / "index.html").touch()
    page = compared(cpu, gpu)
    assert "version torch 2.13.0 2.11.0" in page.text
    assert "B shares no measured case with A" in page.text
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
    assert "../cpu/index.html" in links
    assert "../gpu/index.html" not in links  # it has no page yet


def test_device_time_decides_where_all_have_it(make: Any, tmp_path: Path, compared: Any) -> None:
    runs = [
        make.run(tmp_path / name, make.study(device="cuda:0", gpu=True)) for name in ("a", "b")
    ]
    page = compared(*runs)
    assert "serial loop, eager (device time)" in page.text
    assert re.search(r"Of 12 cases in A and B: 12 (unclear|the same)\.", page.text)


def test_verdicts_stand_beside_each_other(make: Any, tmp_path: Path, compared: Any) -> None:
    constant = make.curve(lambda depth: 1e-3, model="paraformer", execution="stacked")
    grows = make.curve(lambda depth: 1e-3 * depth, model="paraformer", execution="stacked")
    alone = make.curve(lambda depth: 1e-3, model="paraformer", execution="vmap")
    page = compared(make.run(tmp_path / "a", constant + alone), make.run(tmp_path / "b", grows))
    assert "→ constant, L = 8 of 8" in page.text
    assert "↗ grows, L = 1 of 8" in page.text
    assert "1 curve that one run alone has is left out." in page.text
    assert re.search(r"Of 8 cases in A and B: 3 slower, .*4 in A alone\.", page.text)


def test_one_run_that_shares_nothing_is_told_of(make: Any, tmp_path: Path, compared: Any) -> None:
    a, b = (make.run(tmp_path / name, make.study(depths=(1, 2))) for name in ("a", "b"))
    page = compared(a, b, make.run(tmp_path / "c", make.study(depths=(1, 2), width=768)))
    assert "C shares no measured case with A" in page.text
    assert "Cases of A and C" not in page.text


def test_runs_that_share_nothing_are_refused(make: Any, tmp_path: Path) -> None:
    a = read_run(make.run(tmp_path / "a", make.study()))
    b = read_run(make.run(tmp_path / "b", make.study(width=768)))
    with pytest.raises(UsageError, match="share no case that was measured"):
        contend([a, b], 0.03)


def test_how_many(make: Any, tmp_path: Path) -> None:
    run = read_run(make.run(tmp_path / "a", make.study()))
    for number in (1, len(LETTERS) + 1):
        with pytest.raises(UsageError, match=f"2 to {len(LETTERS)} runs, not {number}"):
            contend([run] * number, 0.03)


def test_report_says_how_to_compare_the_runs_that_are_named(
    make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make.run(tmp_path / name, make.study(depths=(1, 2))) for name in ("a", "b c")]
    assert main(["report", *map(str, runs)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [str(run / "index.html") for run in runs]
    assert f"python -m paraformer_bench compare {runs[0]} '{runs[1]}'" in told.err
    assert main(["report", str(runs[0])]) == 0
    assert capsys.readouterr().err == ""
