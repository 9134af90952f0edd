"""What is asked of a child process once, and what is said where it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paraformer_bench.study import __version__
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.ceilings import Copy, Limits, Product
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import (
    Calibrated,
    Done,
    Event,
    Measured,
    Refused,
    Surveyed,
)
from paraformer_bench.study.job import CalibrationJob, CeilingsJob, Job, SurveyJob
from paraformer_bench.study.survey import Survey
from paraformer_bench.workers.ask import calibrate, measure_ceilings, take_survey

LIMITS = Limits(
    copies=(Copy(2**20, 1e11),),
    products=(Product("float32", 2**20, 1e-5),),
    launch_seconds=2e-6,
    node_seconds=None,
    sync_seconds=0.0,
    flags=("cpu_busy",),
)


class Answers:
    """Starts processes that say what a test hands in.

    Attributes:
        jobs: What they were started on.
    """

    def __init__(self, *said: Event, ending: str = "the worker exited with code 5") -> None:
        self.jobs: list[Job] = []
        self._said = list(said)
        self._ending = ending

    def __call__(self, job: Job) -> Answers:
        self.jobs.append(job)
        return self

    def next_event(self, seconds: float) -> Event | None:
        return self._said.pop(0) if self._said else None

    def close(self) -> str:
        return self._ending


def test_survey(survey_of: Callable[..., Survey]) -> None:
    answers = Answers(Surveyed(survey=survey_of(2)), Done())
    assert take_survey([Path("x.py"), Path("y.py")], answers) == survey_of(2)
    assert answers.jobs == [SurveyJob(plugins=["x.py", "y.py"])]


def test_survey_that_a_plugin_refuses() -> None:
    with pytest.raises(UsageError, match=r"^plugin x\.py has a syntax error$"):
        take_survey([Path("x.py")], Answers(Refused(message="plugin x.py has a syntax error")))


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ([], r"^cannot load torch: the worker exited with code 1: ImportError: libcudart$"),
        ([Path("x.py")], r"^cannot load torch and the plugins: the worker exited with code 1: Im"),
    ],
)
def test_survey_that_dies(plugins: list[Path], message: str) -> None:
    answers = Answers(ending="the worker exited with code 1: ImportError: libcudart")
    with pytest.raises(UsageError, match=message):
        take_survey(plugins, answers)


def test_limits_become_ceilings(survey_of: Callable[..., Survey]) -> None:
    answers = Answers(Measured(limits=LIMITS), Done())
    ceilings = measure_ceilings(survey_of(), "cpu", ["float32", "float16"], answers)
    assert answers.jobs == [CeilingsJob(device="cpu", dtypes=("float32", "float16"))]
    assert ceilings.place == survey_of().place("cpu")
    assert (ceilings.copies, ceilings.products) == (LIMITS.copies, LIMITS.products)
    assert (ceilings.flags, ceilings.missing) == (("cpu_busy",), ("float16",))
    assert ceilings.package == __version__


def test_limits_that_could_not_be_measured(survey_of: Callable[..., Survey]) -> None:
    with pytest.raises(UsageError, match=r"^cannot measure the ceilings of cpu: the"):
        measure_ceilings(survey_of(), "cpu", ["float32"], Answers())


def test_readings_become_a_calibration(
    survey_of: Callable[..., Survey], make_calibration: Callable[..., Calibration]
) -> None:
    readings = make_calibration().readings
    answers = Answers(Calibrated(readings=list(readings)), Done())
    calibration = calibrate(survey_of(gpus=1), "cuda:0", answers)
    assert answers.jobs == [CalibrationJob(device="cuda:0")]
    assert calibration.readings == readings
    assert calibration.place == survey_of(gpus=1).place("cuda:0")
    assert calibration.package == __version__


def test_delays_that_could_not_be_read(survey_of: Callable[..., Survey]) -> None:
    with pytest.raises(UsageError, match=r"^cannot calibrate cpu: the worker exited with code 5$"):
        calibrate(survey_of(), "cpu", Answers())
