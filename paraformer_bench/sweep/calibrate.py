"""The parent's side of a calibration."""

from __future__ import annotations

from paraformer_bench import __version__
from paraformer_bench.study.calibration import Calibration, CalibrationJob, Reading, place_of
from paraformer_bench.study.run_folder import now
from paraformer_bench.study.survey import Survey
from paraformer_bench.workers.ask import ask


def calibrate(survey: Survey, device: str) -> Calibration:
    """Read known delays on ``device`` in a fresh process.

    Raises:
        UsageError: The process died or hung.
    """
    events = ask(CalibrationJob(device), "workers.calibrate", f"calibrate {device}")
    readings = tuple(Reading.from_json(event["reading"]) for event in events)
    host, _, name, torch = place_of(survey, device)
    return Calibration(now(), host, device, name, torch, __version__, readings)
