"""The parent's side of a calibration: start the child, gather what it read."""

from __future__ import annotations

from paraformer_bench import __version__
from paraformer_bench.calibration import Calibration, CalibrationJob, Reading, place_of
from paraformer_bench.errors import UsageError
from paraformer_bench.survey import Survey
from paraformer_bench.sweep.local import LocalWorker, Worker
from paraformer_bench.sweep.setup import now

_PATIENCE = 120.0


def calibrate(survey: Survey, device: str) -> Calibration:
    """Read known delays on ``device`` in a fresh process that is started as workers are.

    Raises:
        UsageError: The process died or hung.
    """
    worker = LocalWorker(CalibrationJob(device), "measure.calibrator")
    try:
        readings = gather(worker)
        if readings is None:
            raise UsageError(f"cannot calibrate {device}: {worker.close()}")
    except TimeoutError:
        raise UsageError(f"cannot calibrate {device}: no answer in {_PATIENCE:.0f} s") from None
    finally:
        worker.close()
    host, _, name, torch = place_of(survey, device)
    return Calibration(now(), host, device, name, torch, __version__, tuple(readings))


def gather(worker: Worker) -> list[Reading] | None:
    """Return what a calibrating worker read; None if it ended before it was done."""
    readings: list[Reading] = []
    while (event := worker.next_event(_PATIENCE)) is not None:
        if event["event"] == "done":
            return readings
        readings.append(Reading.from_json(event["reading"]))
    return None
