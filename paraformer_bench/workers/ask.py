"""Asking a fresh process one thing: what is here, the ceilings of a device, known delays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import structs

from paraformer_bench.study import __version__
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.events import Calibrated, Measured, Surveyed
from paraformer_bench.study.job import CalibrationJob, CeilingsJob, SurveyJob
from paraformer_bench.study.run_folder import now
from paraformer_bench.study.survey import Survey
from paraformer_bench.workers.supervise import LocalWorker, Start, ask


def take_survey(plugins: Iterable[Path] = (), start: Start = LocalWorker) -> Survey:
    """Ask what is registered and what is here, a process that imports torch and the plugins.

    Raises:
        UsageError: A plugin cannot be loaded, or the process died (torch is broken, say).
    """
    job = SurveyJob(plugins=[str(path) for path in plugins])
    [answer] = ask(job, start, f"load torch{' and the plugins' if job.plugins else ''}")
    assert isinstance(answer, Surveyed)
    return answer.survey


def measure_ceilings(
    survey: Survey, device: str, dtypes: Iterable[str], start: Start = LocalWorker
) -> Ceilings:
    """Measure the ceilings of ``device``.

    Raises:
        UsageError: The process died or hung, or could not measure anything.
    """
    asked = tuple(dtypes)
    what = f"measure the ceilings of {device}"
    [answer] = ask(CeilingsJob(device=device, dtypes=asked), start, what)
    assert isinstance(answer, Measured)
    measured = {product.dtype for product in answer.limits.products}
    return Ceilings(
        **structs.asdict(answer.limits),
        **structs.asdict(survey.place(device)),
        date=now(),
        package=__version__,
        missing=tuple(dtype for dtype in asked if dtype not in measured),
    )


def calibrate(survey: Survey, device: str, start: Start = LocalWorker) -> Calibration:
    """Read known delays on ``device``.

    Raises:
        UsageError: The process died or hung.
    """
    [answer] = ask(CalibrationJob(device=device), start, f"calibrate {device}")
    assert isinstance(answer, Calibrated)
    place = structs.asdict(survey.place(device))
    return Calibration(**place, date=now(), package=__version__, readings=tuple(answer.readings))
