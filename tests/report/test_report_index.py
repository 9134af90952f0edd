"""The index of runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from paraformer_bench.report.build import build_report
from paraformer_bench.report.index import build_index
from paraformer_bench.study.errors import UsageError


def test_lists_runs_newest_first(make: Any, tmp_path: Any) -> None:
    flat = make.curve(lambda depth: 1e-3, model="paraformer", execution="stacked")
    steep = make.curve(lambda depth: 1e-3 * depth, model="paraformer")
    runs = {
        "old": (flat, "2024-01-01T00:00:00+00:00"),
        "new": (steep, "2026-01-01T00:00:00+00:00"),
        "mid": ([], "2025-01-01T00:00:00+00:00"),
    }
    for name, (records, started) in runs.items():
        build_report(make.run(tmp_path / name, records, make.info(name=name, started=started)))
    page = make.page(build_index(tmp_path))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["new/index.html", "mid/index.html", "old/index.html"]
    text = page.text
    assert "3 runs" in text
    new, old = text.index("refuted"), text.index("supported")
    assert new < text.index("undecided") < old
    assert "cpu (AMD EPYC 7B13, 2 cores) · 2026-01-01 00:00 UTC · commit 0123456789ab" in text
    assert "inference time" in text[new:old]


def test_survives_broken_runs_and_says_so(make: Any, tmp_path: Any) -> None:
    build_report(make.run(tmp_path / "good", make.study(depths=(1, 2))))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{", "utf-8")
    odd = make.info(suite={"name": "quick", "claim": "ten percent"})
    make.run(tmp_path / "odd", make.study(depths=(1, 2)), odd)
    for name in ("asv", "regressions"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name, "utf-8")
    page = make.page(build_index(tmp_path))
    assert "3 runs" in page.text
    assert page.text.count("This run cannot be read:") == 2
    assert "torn" in page.text
    links = {attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert links == {"good/index.html", "asv/index.html", "regressions/index.html"}


def test_run_without_a_page_is_listed_without_a_link(make: Any, tmp_path: Any) -> None:
    make.run(tmp_path / "a run", make.study(depths=(1, 2)), make.info(finished=None))
    page = make.page(build_index(tmp_path))
    assert "no page yet" in page.text
    assert "incomplete" in page.text
    build_report(tmp_path / "a run")
    links = [a["href"] for t, a in make.page(build_index(tmp_path)).tags if t == "a"]
    assert links == ["a%20run/index.html"]


def test_empty_folder_and_no_folder(make: Any, tmp_path: Any) -> None:
    page = make.page(build_index(tmp_path))
    assert "No run yet." in page.text
    with pytest.raises(UsageError, match="is not a folder of reports"):
        build_index(tmp_path / "nowhere")


def test_index_is_the_same_every_time(make: Any, tmp_path: Any) -> None:
    for name in ("a", "b"):
        make.run(tmp_path / name, make.study(depths=(1, 2)))
    assert build_index(tmp_path).read_bytes() == build_index(tmp_path).read_bytes()


def test_growth_of_every_curve_is_drawn(make: Any, tmp_path: Any) -> None:
    make.run(tmp_path / "reports" / "a", make.study())
    source = build_index(tmp_path / "reports").read_text("utf-8")
    lines = re.findall(r'<polyline class="(\w+)" points="([^"]+)"', source)
    assert sorted(kind for kind, _ in lines) == ["parallel", "parallel", "serial"]
    ends = {}
    for kind, points in lines:
        xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
        assert list(xs) == sorted(xs)
        assert all(0 <= x <= 120 for x in xs)
        assert all(0 <= y <= 44 for y in ys)
        ends.setdefault(kind, []).append(ys[0] - ys[-1])
    assert ends["serial"][0] > 30  # it rises, and up is a smaller y
    assert min(map(abs, ends["parallel"])) < 3  # one of the two is level


def test_a_run_with_one_depth_has_nothing_to_draw(make: Any, tmp_path: Any) -> None:
    make.run(tmp_path / "reports" / "a", make.study(depths=(2,)))
    assert "<polyline" not in build_index(tmp_path / "reports").read_text("utf-8")
