"""Runs as tables: what they hold, and that docs/data.md names every column."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import paraformer_bench
from paraformer_bench.load import LoadedRun
from paraformer_bench.study.errors import UsageError

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "reports" / "example-cpu"
TABLES = (
    "cases",
    "blocks",
    "samples",
    "verdicts",
    "ratios",
    "speedups",
    "predictions",
    "timelines",
)


@pytest.fixture(scope="module")
def run() -> LoadedRun:
    return paraformer_bench.load_run(EXAMPLE)


def documented() -> dict[str, set[str]]:
    """Names in the first column of each table of the page, by the table in its heading."""
    found: dict[str, set[str]] = {}
    current: list[str] = ["case"]
    for line in (ROOT / "docs" / "data.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            current = re.findall(r"`run\.(\w+)`", line)
        elif line.startswith("| `"):
            names = re.findall(r"`(\w+)`", line.split("|")[1])
            for table in current:
                found.setdefault(table, set()).update(names)
    return found


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_documented_and_there(run: LoadedRun, table: str) -> None:
    named = documented()
    expected = named[table]
    if table in ("cases", "blocks"):
        expected |= named["case"]
    elif table == "verdicts":
        expected |= named["case"] - {"case_id", "regime", "group", "method", "depth"}
    elif table == "ratios":
        expected -= {"against"}
    elif table == "timelines":
        expected |= {"case_id", "file"}
    assert set(getattr(run, table).columns) == expected


def test_tables_belong_together(run: LoadedRun) -> None:
    cases, samples = run.cases, run.samples
    assert len(cases) == run.blocks["case_id"].nunique()
    counts = samples[samples["basis"] == "wall"].groupby("case_id").size()
    timed = cases[cases["samples"] > 0].set_index("case_id")
    assert counts.to_dict() == timed["samples"].to_dict()
    medians = samples.groupby(["case_id", "block"])["seconds"].median()
    blocks = run.blocks.set_index(["case_id", "block"])["wall"].dropna()
    assert medians.to_dict() == pytest.approx(blocks.to_dict())
    assert set(run.ratios["curve_id"]) == set(run.verdicts["curve_id"]) == set(timed["curve_id"])
    assert set(run.predictions["curve_id"]) <= set(cases["curve_id"])
    assert set(run.timelines["case_id"]) <= set(cases["case_id"])
    first = run.ratios[run.ratios["depth"] == 1]
    assert (first["ratio"] == 1).all()
    assert run.info["suite"]
    assert run.warnings == []


def test_rounds_of_samples_are_told(run: LoadedRun) -> None:
    one = run.samples.groupby(["case_id", "block"]).get_group(
        tuple(run.samples.iloc[0][["case_id", "block"]])
    )
    assert one["round"].is_monotonic_increasing
    assert one["round"].min() == 0
    assert one["sample"].tolist() == list(range(len(one)))


def test_an_empty_run_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    run = paraformer_bench.load_run(str(tmp_path))
    for table in TABLES:
        assert len(getattr(run, table)) == 0, table


def test_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        paraformer_bench.load_run(tmp_path)


def test_importing_the_package_loads_no_tables() -> None:
    script = "import sys, paraformer_bench; print('pandas' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "False"]


def test_samples_of_a_gpu_have_both_clocks(tmp_path: Path) -> None:
    """Device times are further calls, of which no round is known."""
    record = json.loads((EXAMPLE / "records.jsonl").read_text("utf-8").splitlines()[0])
    record |= {"wall_seconds": [3.0, 4.0, 5.0], "rounds": [2, 1], "device_seconds": [1.0, 2.0]}
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n")
    samples = paraformer_bench.load_run(tmp_path).samples
    rows = samples[["basis", "round", "sample", "seconds"]].to_numpy().tolist()
    assert rows == [
        ["wall", 0, 0, 3.0],
        ["wall", 0, 1, 4.0],
        ["wall", 1, 2, 5.0],
        ["device", -1, 0, 1.0],
        ["device", -1, 1, 2.0],
    ]
