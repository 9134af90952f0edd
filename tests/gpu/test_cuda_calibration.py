"""Known delays on a real GPU."""

from __future__ import annotations

import pytest

from paraformer_bench.instrument.clock import CudaDelays
from paraformer_bench.instrument.device import Device
from paraformer_bench.study.calibration import DELAYS
from paraformer_bench.study.job import CalibrationJob
from paraformer_bench.workers.calibrate import calibrate

pytestmark = pytest.mark.gpu


def test_events_agree_with_the_clock_of_the_host(gpu: Device) -> None:
    job = CalibrationJob(device="cuda:0", seconds=0.3)
    readings = calibrate(CudaDelays(gpu.clock), gpu.clock, job)
    assert [(r.basis, r.asked_seconds) for r in readings] == [
        (basis, delay) for delay in DELAYS for basis in ("wall", "device")
    ]
    by = {(r.basis, r.asked_seconds): r for r in readings}
    assert by["device", 10e-3].share == pytest.approx(0, abs=0.02)
    assert by["wall", 10e-3].share == pytest.approx(0, abs=0.02)
    # Starting a kernel takes the GPU a few microseconds, launching it takes the host more.
    assert abs(by["device", 50e-6].difference) < 10e-6
    assert by["wall", 50e-6].measured_seconds > by["device", 50e-6].measured_seconds
