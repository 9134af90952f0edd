"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paraformer_bench.analysis.machines import shift

from paraformer_bench.analysis.compare import compare
from paraformer_bench.report.comparison import default_path, write_comparison
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import read_run


@pytest.fixture
def written(make: Any, tmp_path: Path) -> Any:
    """Compare two studies, the second with some times multiplied, and read the page."""

    def written(factor: float, **changes: Any) -> Any:
        folders = []
        for name, scale in (("before", 1.0), ("after", factor)):
            records = make.study(depths=(1, 4)) + make.study(depths=(1, 4), batch=8)
            for record in records:
                if record.case.execution == "stacked" and record.case.batch == 8:
                    record.wall_seconds = [t * scale for t in record.wall_seconds]
            info = make.info(**(changes if name == "after" else {}))
            folders.append(make.run(tmp_path / name, records, info))
        a, b = map(read_run, folders)
        contrasts = compare(a, b)
        path = tmp_path / "deep" / "page.html"
        return make.page(write_comparison(path, a, b, contrasts, shift(contrasts, a, b), 0.03))

    return written


def test_the_answer_stands_first(written: Any) -> None:
    page = written(1.5)
    assert "B is slower in 2 cases." in page.text
    assert "Of 12 cases: 2 slower, 10" in page.text
    assert page.source.index("SLOWER</span>") < page.source.index("UNCLEAR</span>")
    assert "paraformer stacked, eager" in page.text
    assert "beyond 3%" in page.text


@pytest.mark.parametrize(
    ("factor", "title"),
    [
        (0.5, "B is faster in 2 cases, and slower in none."),
        (1.0, "No case is slower or faster for sure."),
    ],
)
def test_other_answers(written: Any, factor: float, title: str) -> None:
    assert title in written(factor).text


def test_a_figure_a_regime_that_those_can_read_who_cannot_see(written: Any) -> None:
    page = written(1.5)
    assert len(page.svgs) == 2
    assert sum("paraformer stacked, eager, L = 4: 1.500× SLOWER" in s for s in page.svgs) == 1
    assert len(page.ids) == len(set(page.ids))


def test_what_differs_between_the_runs_is_shown(written: Any) -> None:
    page = written(1.0, versions={"python": "3.11.7", "torch": "2.14.0"}, commit="f" * 40)
    assert "version torch 2.13.0 2.14.0" in page.text
    assert "commit" in page.text
    assert "version python" not in page.text


def test_the_page_loads_nothing(written: Any) -> None:
    page = written(1.0)
    assert "default-src 'none'" in page.source
    assert "http://" not in page.source.replace("http://www.w3.org", "")


def test_names_that_are_code_stay_names(make: Any, tmp_path: Path) -> None:
    folder = make.run(tmp_path / "a<script>alert(1)<", make.study(depths=(1,)))
    run = read_run(folder)
    contrasts = compare(run, run)
    found = write_comparison(
        tmp_path / "p.html", run, run, contrasts, shift(contrasts, run, run), 0.03
    )
    assert "<script>alert" not in found.read_text("utf-8")
    assert default_path(run, run).name.count("--") == 1


def test_a_page_that_cannot_be_written(make: Any, tmp_path: Path) -> None:
    run = read_run(make.run(tmp_path / "a", make.study(depths=(1,))))
    (tmp_path / "file").touch()
    contrasts = compare(run, run)
    with pytest.raises(UsageError, match=r"^cannot write "):
        write_comparison(
            tmp_path / "file" / "p.html", run, run, contrasts, shift(contrasts, run, run), 0.03
        )
