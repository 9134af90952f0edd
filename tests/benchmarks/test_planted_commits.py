"""The regressions that are planted fit today's code and change what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import planted_commits
from benchmarks.planted_commits import BAD, EDITS, PAGES, PLAN, ROOT, STACKED


@pytest.mark.parametrize("change", sorted(EDITS))
def test_each_edit_fits_once_and_leaves_code_that_compiles(change: str) -> None:
    text = (ROOT / STACKED).read_text(encoding="utf-8")
    for old, new in EDITS[change]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    compile(text, str(STACKED), "exec")


def test_the_bad_commits_are_the_ones_that_change_something() -> None:
    assert [PLAN[number - 1] for number in BAD] == ["10% slower", "twice the memory"]


COMPARED = """
All benchmarks:

| Change   | Before [aaaa] | After [bbbb] |   Ratio | Benchmark (Parameter)     |
|----------|---------------|--------------|---------|---------------------------|
|          | 1.00±0.1ms    | 1.01±0.1ms   |    1.01 | nets.Cpu.track_latency(1) |
{mark}
"""


@pytest.mark.parametrize(
    ("mark", "named"),
    [
        ("| +        | 1.00±0.1ms    | 1.20±0.1ms   |    1.20 | nets.Cpu.track_latency(4) |", [1]),
        ("| -        | 1.00±0.1ms    | 0.80±0.1ms   |    0.80 | nets.Cpu.track_latency(4) |", []),
        ("|          | 1.00±0.1ms    | 1.20±0.9ms   |   ~1.20 | nets.Cpu.track_latency(4) |", []),
    ],
)
def test_asv_names_a_commit_where_it_marks_something_as_worse(
    mark: str, named: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(planted_commits, "_run", lambda *_, **__: COMPARED.format(mark=mark))
    assert planted_commits.compare(tmp_path, ["aaaa", "bbbb"]) == named


def test_ours_are_all_changes_that_the_command_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = json.dumps(
        [
            {"commit": "cccc", "verdict": "regression"},
            {"commit": "bbbb", "verdict": "improvement"},
            {"commit": "cccc", "verdict": "regression"},
            {"commit": "aaaa", "verdict": "below threshold"},
        ]
    )
    monkeypatch.setattr(planted_commits, "_run", lambda *_, **__: said)
    assert planted_commits.ours(tmp_path, ["aaaa", "bbbb", "cccc"]) == [1, 2]


def test_steps_are_named_by_the_first_commit_with_the_new_level(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(planted_commits, "_run", lambda *_, **__: "")
    (tmp_path / PAGES).mkdir(parents=True)
    index = {"revision_to_hash": {"7": "aaaa", "8": "bbbb", "9": "cccc"}}
    jumps = [[None, 8, 1.0, 1.2], [8, 9, 1.2, 2.0]]
    found = {"regressions": [["name", "graph", {}, 0, 2.0, 1.0, jumps]]}
    (tmp_path / PAGES / "index.json").write_text(json.dumps(index))
    (tmp_path / PAGES / "regressions.json").write_text(json.dumps(found))
    assert planted_commits.steps(tmp_path, ["aaaa", "bbbb", "cccc"]) == [1, 2]
