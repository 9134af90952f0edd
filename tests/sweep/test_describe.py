"""What a sweep says before it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.plan import Settings, Study
from paraformer_bench.sweep.progress import describe_plan, empty, energy_line, headline
from paraformer_bench.sweep.setup import set_up

SUITE = """
name = "mine"

[protocol]
blocks = 2
seconds_per_case = 0.8
{}

[[grid]]
models = "serial"
depth = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
"""


@pytest.fixture
def study(
    survey_of: Callable[..., Survey], files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Study]:
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda _: survey_of(gpus=1))

    def study(line: str = "", **settings) -> Study:
        suite = files.write(tmp_path / "mine.toml", SUITE.format(line))
        return set_up(replace(Settings(suite=str(suite), device="cuda:0"), **settings))

    return study


def test_headline_tells_how_long_it_takes(study: Callable[..., Study]) -> None:
    # 4 s to start, and 10 cases of 1 s of samples and warm-up and 0.3 s of preparation.
    assert headline(study()) == ("mine on cuda:0 (NVIDIA H200): 10 cases, 2 blocks, about 34 s")
    assert headline(study(budget_seconds=60.0)).endswith(
        "as many blocks of about 17 s as fit into 1 min"
    )


def test_headline_counts_as_people_do(study: Callable[..., Study]) -> None:
    part = study(axes={"depth": [1], "width": [64, 128]}, blocks=1, shard=(2, 2))
    assert "shard 2 of 2: 1 case, parts of 1 of 1 block, about " in headline(part)
    assert empty(part.plan) == ""
    nothing = study(axes={"depth": [1], "width": [64, 128]}, blocks=1, shard=(3, 3))
    assert headline(nothing).endswith("shard 3 of 3: 0 cases, none of 1 block, about 0 s")
    assert empty(nothing.plan) == (
        "shard 3 of 3 is empty: of 1 block of 2 groups of cases nothing fell to it"
    )


def test_energy_windows_are_counted_where_they_are_run(study: Callable[..., Study]) -> None:
    # 3.2 s more for each of 10 cases, in each of 2 blocks.
    assert headline(study("energy_seconds = 2")).endswith("2 blocks, about 1 min 38 s")
    assert headline(study("energy_seconds = 2", device="cpu")).endswith("2 blocks, about 34 s")


def test_energy_line(study: Callable[..., Study]) -> None:
    assert energy_line(study()) is None
    asked = study("energy_seconds = 2")
    assert energy_line(asked) == (
        "energy: a window of 2 s for each case and block, after its timed rounds"
    )
    assert f"  {energy_line(asked)}" in describe_plan(asked)
    on_cpu = study("energy_seconds = 2", device="cpu")
    reason = "energy will not be measured: permission denied on /sys/energy_uj"
    assert energy_line(on_cpu) == reason
    assert f"  {reason}" in describe_plan(on_cpu)
