"""The last lines of a sweep: what was found, and what to do where nothing is settled."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Efficiency
from paraformer_bench.sweep import command
from paraformer_bench.sweep.plan import Settings
from paraformer_bench.sweep.run import Outcome
from paraformer_bench.sweep.setup import open_store, set_up

DEPTHS = (1, 2, 4)


@pytest.fixture
def last_lines(
    survey_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda _: survey_of())

    def last_lines(deepest: list[float], interrupted: bool = False) -> list[str]:
        axes = {"models": ["serial"], "executions": ["loop"], "runtimes": ["eager"]}
        settings = Settings(suite="smoke", axes=axes, out=tmp_path / "a run")
        study = set_up(settings)
        said = io.StringIO()
        with open_store(study, settings) as store:
            for case in study.plan.cases:
                for block, factor in enumerate(deepest):
                    seconds = 1e-3 * (factor if case.depth == DEPTHS[-1] else 1)
                    record = Record(
                        case=case, block=block, order=0, status="ok", wall_seconds=[seconds] * 10
                    )
                    store.append([record])
            store.update(efficiency=Efficiency(1.0, 0.5, 0.5))
            outcome = Outcome(interrupted, 0, len(deepest))
            command._report(store, study, outcome, Console(file=said, width=500))
        return said.getvalue().splitlines()

    return last_lines


def test_open_curves_come_with_the_command_that_settles_them(last_lines) -> None:
    line = last_lines([0.95, 1.0, 1.2])[-1]
    assert line.startswith("1 curve is not settled: about ")
    words, _, resume = line.partition(" blocks in all would settle it: ")
    blocks = int(words.rpartition(" ")[2])
    assert 3 < blocks < 100
    assert resume.startswith("python -m paraformer_bench sweep --resume --out '")
    assert resume.endswith(f"a run' --blocks {blocks}")


@pytest.mark.parametrize("deepest", [[1.0] * 4, [2.0] * 4, [1.0]])
def test_nothing_is_asked_for_where_it_would_not_help(last_lines, deepest: list[float]) -> None:
    assert not any("not settled: about" in line for line in last_lines(deepest))


def test_an_interrupted_sweep_says_how_to_go_on_and_no_more(last_lines) -> None:
    lines = last_lines([0.95, 1.0, 1.2], interrupted=True)
    assert not any("--blocks" in line for line in lines)
