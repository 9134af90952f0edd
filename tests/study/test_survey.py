from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paraformer_bench.study import survey as survey_module
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.registry import ModelTraits
from paraformer_bench.study.survey import Survey, choose_device, take_survey

SurveyOf = Callable[..., Survey]

ANSWER = {
    "survey": {
        "models": {
            "a": {
                "name": "a",
                "devices": ["cpu"],
                "branched": True,
                "summary": "s",
                "source": "m",
                "axes": ["width"],
                "cost": {"span": "L", "work": "L*F", "parameters": "L*B"},
            }
        },
        "executions": {},
        "runtimes": {},
        "environment": {"devices": {"cpu": "EPYC", "cuda:0": "H200", "cuda:1": "H200"}},
        "versions": {"torch": "2.13"},
        "installed_plugins": {"theirs": "1.0"},
    }
}


@pytest.fixture
def child_says(monkeypatch: pytest.MonkeyPatch):
    """Let the child process print ``out`` and ``err``; return the commands it was started with."""

    def say(out: str, err: str = "") -> list[list[str]]:
        commands: list[list[str]] = []

        def run(command: list[str], **options: Any) -> SimpleNamespace:
            commands.append(command)
            return SimpleNamespace(stdout=out, stderr=err)

        monkeypatch.setattr(survey_module.subprocess, "run", run)
        return commands

    return say


def test_answer_of_the_child(child_says) -> None:
    commands = child_says(json.dumps(ANSWER))
    survey = take_survey([Path("x.py"), Path("y.py")])
    assert survey.models == {
        "a": ModelTraits(
            name="a",
            devices=("cpu",),
            branched=True,
            summary="s",
            source="m",
            axes=("width",),
            cost=Cost("L", "L*F", "L*B"),
        )
    }
    assert survey.gpus == ["cuda:0", "cuda:1"]
    assert survey.versions == {"torch": "2.13"}
    assert commands[0][1:] == ["-m", "paraformer_bench.workers.survey", "x.py", "y.py"]


def test_error_of_a_plugin(child_says) -> None:
    child_says('{"error": "plugin x.py has a syntax error"}')
    with pytest.raises(UsageError, match=r"^plugin x\.py has a syntax error$"):
        take_survey([Path("x.py")])


@pytest.mark.parametrize(
    ("plugins", "err", "message"),
    [
        ([], "Traceback:\n  x\nImportError: libcudart", "^cannot load torch: ImportError: libcud"),
        ([], "", "^cannot load torch: no message$"),
        ([Path("x.py")], "Aborted\n\n", "^cannot load torch and the plugins: Aborted$"),
    ],
)
def test_child_that_dies(child_says, plugins: list[Path], err: str, message: str) -> None:
    child_says("", err)
    with pytest.raises(UsageError, match=message):
        take_survey(plugins)


def test_child_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], timeout: float, **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(survey_module.subprocess, "run", run)
    with pytest.raises(UsageError, match=r"^loading torch took over 120 s$"):
        take_survey()


def test_device_is_chosen(survey_of: SurveyOf) -> None:
    assert choose_device(survey_of(), None) == "cpu"
    assert choose_device(survey_of(2), None) == "cuda:0"
    assert choose_device(survey_of(2), "cpu") == "cpu"
    assert choose_device(survey_of(2), "cuda:1") == "cuda:1"


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        (0, "cuda:0", "torch 2.13.0 sees no CUDA device; use --device cpu"),
        (2, "cuda:2", "there are cuda:0, cuda:1"),
        (2, "cuda", "allowed are cpu and cuda:N"),
        (2, "cuda:", "allowed are cpu and cuda:N"),
        (2, "cuda:x", "allowed are cpu and cuda:N"),
        (2, "CPU", "allowed are cpu and cuda:N"),
        (2, "", "allowed are cpu and cuda:N"),
    ],
)
def test_device_is_refused(survey_of: SurveyOf, gpus: int, asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_device(survey_of(gpus), asked)


@pytest.mark.parametrize(
    ("branches", "cost", "control"),
    [
        (True, Cost("k", "L*F", "L*B"), False),
        (True, Cost("ceil(L / 2)", "L*F", "L*B"), True),
        (False, Cost("k", "L*F", "L*B"), True),
        (False, None, False),
        (True, Cost("n", "L*F", "L*B"), True),  # L / k grows with L too
        (True, Cost("min(L, 4)", "L*F", "L*B"), False),  # and this ends to
    ],
)
def test_a_control_has_no_branches_or_a_span_that_grows(
    branches: bool, cost: Cost | None, control: bool
) -> None:
    assert ModelTraits(name="a", branched=branches, cost=cost).control == control
