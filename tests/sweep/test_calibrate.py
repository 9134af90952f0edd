"""The parent's side of a calibration, against children that misbehave."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from paraformer_bench import __version__
from paraformer_bench.study import child
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.calibrate import calibrate
from paraformer_bench.workers import ask

Run = Callable[[str], Calibration]


@pytest.fixture
def run(survey_of: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calibrate by a child that runs ``code``."""

    def run(code: str) -> Calibration:
        script = "import json, os, sys, time\njob = json.loads(sys.stdin.readline())\n"
        asked: list[tuple[str, ...]] = []

        def command(*arguments: str) -> list[str]:
            asked.append(arguments)
            return [sys.executable, "-c", script + code]

        monkeypatch.setattr(child, "command", command)
        calibration = calibrate(survey_of(gpus=1), "cuda:0")
        assert asked == [("workers.calibrate",)]
        return calibration

    return run


def test_readings_become_a_calibration(run: Run, make_calibration) -> None:
    readings = make_calibration().readings
    events = [{"event": "read", "reading": r.to_json()} for r in readings] + [{"event": "done"}]
    text = "".join(json.dumps(event) + "\n" for event in events)
    found = run(f"assert job['device'] == 'cuda:0'\nprint({text!r}, end='')")
    assert found.readings == readings
    assert found.place == ("host", "cuda:0", "NVIDIA H200", "2.13.0")
    assert found.package == __version__


def test_child_that_dies(run: Run) -> None:
    with pytest.raises(UsageError, match="cannot calibrate cuda:0: the worker exited with code 5"):
        run("os._exit(5)")


def test_child_that_hangs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "_PATIENCE", 0.2)
    with pytest.raises(UsageError, match="cannot calibrate cuda:0: no answer in "):
        run("time.sleep(60)")
