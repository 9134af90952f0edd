"""Files of asv, whole and broken: a warning a line, and never a traceback."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.history.results import FAILED, NOT_APPLICABLE, OK, Name, read_results
from paraformer_bench.study.errors import UsageError

SECONDS = ("seconds", {"depth": ["1", "4"]}, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_a_result_file(asv: Any, truths: Any) -> None:
    asv.write(0, {"a.track": SECONDS, "b.track": ("bytes", {}, [7])})
    results = read_results(asv.path)
    assert results.warnings == []
    assert results.measured == {("box", "existing-py"): {truths.hash(0)}}
    assert results.dates == {truths.hash(0): 1_700_000_000.0}
    first, second, third = results.series
    assert first.name == Name("box", "existing-py", "a.track", (("depth", "1"),))
    assert (first.unit, third.unit) == ("seconds", "bytes")
    cell = second.cells[truths.hash(0)]
    assert (cell.status, cell.value, cell.samples, cell.count) == (OK, 5.0, (4.0, 5.0, 6.0), 3)
    assert cell.quartiles == (4.5, 5.5)
    alone = third.cells[truths.hash(0)]
    assert (alone.value, alone.samples, alone.quartiles, alone.count) == (7.0, (), None, 1)


def test_null_failed_and_nan_does_not_apply(asv: Any, truths: Any) -> None:
    asv.write(0, {"a.track": ("seconds", {"depth": ["1", "4", "9"]}, [None, math.nan, [1.0] * 3])})
    cells = [series.cells[truths.hash(0)] for series in read_results(asv.path).series]
    assert [cell.status for cell in cells] == [FAILED, NOT_APPLICABLE, OK]


def test_a_benchmark_that_failed_as_a_whole(asv: Any, truths: Any) -> None:
    path = asv.write(0, {"a.track": SECONDS})
    content = json.loads(path.read_text())
    content["results"]["a.track"] = [None, [["1", "4"]], "1", 0]
    path.write_text(json.dumps(content))
    cells = [series.cells[truths.hash(0)] for series in read_results(asv.path).series]
    assert [cell.status for cell in cells] == [FAILED, FAILED]


def test_values_that_no_sample_is(asv: Any, truths: Any) -> None:
    asv.write(0, {"a.track": ("seconds", {}, [[1.0, math.nan, math.inf, 2.0]])})
    (series,) = read_results(asv.path).series
    assert series.cells[truths.hash(0)].status == NOT_APPLICABLE  # their median is NaN


def test_parameters_that_came_later_are_series_of_their_own(asv: Any, truths: Any) -> None:
    asv.write(0, {"a.track": ("seconds", {"depth": ["1"]}, [[1.0] * 3])})
    asv.write(1, {"a.track": SECONDS})
    first, second = read_results(asv.path).series
    assert set(first.cells) == {truths.hash(0), truths.hash(1)}
    assert set(second.cells) == {truths.hash(1)}


def test_results_of_another_version_and_of_benchmarks_that_are_no_more_are_left_out(
    asv: Any, truths: Any
) -> None:
    path = asv.write(0, {"a.track": SECONDS, "gone.track": SECONDS})
    content = json.loads(path.read_text())
    content["results"]["a.track"][2] = "0"
    path.write_text(json.dumps(content))
    asv.write(1, {"a.track": SECONDS})
    known = json.loads((asv.path / "benchmarks.json").read_text())
    del known["gone.track"]
    (asv.path / "benchmarks.json").write_text(json.dumps(known))
    results = read_results(asv.path)
    assert {series.name.benchmark for series in results.series} == {"a.track"}
    assert all(set(series.cells) == {truths.hash(1)} for series in results.series)
    assert results.warnings == []


BROKEN = {
    "nothing": "",
    "half a file": '{"commit_hash": "0000',
    "a list": "[]",
    "old": json.dumps({"version": 1}),
    "no commit": json.dumps({"version": 2, "results": {}, "result_columns": []}),
    "no results": json.dumps({"version": 2, "commit_hash": "a" * 40}),
    "a deep one": "[" * 100_000,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_a_warning(asv: Any, text: str) -> None:
    asv.write(0, {"a.track": SECONDS})
    (asv.path / "box" / "ffffffff-existing-py.json").write_text(text)
    results = read_results(asv.path)
    assert len(results.series) == 2
    (warning,) = results.warnings
    assert "ffffffff-existing-py.json: " in warning
    assert "\n" not in warning


ROWS: dict[str, Any] = {
    "no list": 7,
    "too few results": [[1.0], [["1", "4"]], "1"],
    "a word": [["fast", 1.0], [["1", "4"]], "1"],
    "a truth": [[True, 1.0], [["1", "4"]], "1"],
    "beyond a float": [[10**400, 1.0], [["1", "4"]], "1"],
    "samples that are none": [
        *([1.0, 1.0], [["1", "4"]], "1", 0, 0, None, None, None, None, None, None),
        ["x", None],
    ],
    "parameters that are none": [[1.0], "depth", "1"],
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_broken_benchmark_leaves_the_others(asv: Any, row: Any) -> None:
    path = asv.write(0, {"a.track": SECONDS, "b.track": SECONDS})
    content = json.loads(path.read_text())
    content["results"]["a.track"] = row
    path.write_text(json.dumps(content))
    results = read_results(asv.path)
    (warning,) = results.warnings
    assert ": a.track " in warning
    whole = [series for series in results.series if series.name.benchmark == "b.track"]
    assert len(whole) == 2


def test_without_the_list_of_benchmarks_units_are_unknown(asv: Any) -> None:
    asv.write(0, {"a.track": SECONDS})
    (asv.path / "benchmarks.json").unlink()
    results = read_results(asv.path)
    assert [series.unit for series in results.series] == ["", ""]
    assert [dict(series.name.params) for series in results.series] == [
        {"param1": "1"},
        {"param1": "4"},
    ]
    assert "benchmarks.json" in results.warnings[0]


def test_one_machine_of_two(asv: Any, truths: Any) -> None:
    asv.write(0, {"a.track": SECONDS})
    truths.folder(asv.path, machine="tower").write(0, {"a.track": SECONDS})
    assert {s.name.machine for s in read_results(asv.path).series} == {"box", "tower"}
    assert {s.name.machine for s in read_results(asv.path, "tower").series} == {"tower"}
    with pytest.raises(UsageError, match=r"unknown machine 'towr': did you mean 'tower'"):
        read_results(asv.path, "towr")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder of asv's results"):
        read_results(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no result"):
        read_results(tmp_path)
