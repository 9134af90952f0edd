"""Calibration on a host and a device whose times are simulated."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paraformer_bench.instrument import clock
from paraformer_bench.instrument.clock import CpuClock, CpuDelays, CudaClock, CudaDelays
from paraformer_bench.study.calibration import DELAYS, Reading
from paraformer_bench.study.job import CalibrationJob
from paraformer_bench.workers.calibrate import calibrate

TICK = 1e-7


class Host:
    """A host whose clock moves on by `TICK` whenever it is read, and stands still otherwise."""

    def __init__(self) -> None:
        self.time = 10.0

    def perf_counter(self) -> float:
        self.time += TICK
        return self.time


class LateClock(CpuClock):
    """Takes some time of its own before it reads the clock for the second time."""

    def __init__(self, host: Host, seconds: float) -> None:
        self.host, self.seconds = host, seconds

    def wall(self, call: Callable[[], object]) -> float:
        def late() -> None:
            call()
            self.host.time += self.seconds

        return super().wall(late)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=host.perf_counter))
    return host


def read(host: Host, late: float) -> dict[float, Reading]:
    job = CalibrationJob(device="cpu", seconds=0.03)
    readings = calibrate(CpuDelays(), LateClock(host, late), job)
    assert [reading.asked_seconds for reading in readings] == list(DELAYS)
    assert {reading.basis for reading in readings} == {"wall"}
    return {reading.asked_seconds: reading for reading in readings}


def test_truth_is_what_the_call_saw_and_nothing_is_subtracted(host: Host) -> None:
    for seconds, reading in read(host, late=0.0).items():
        assert reading.true_seconds == pytest.approx(seconds, abs=2 * TICK)
        # From the instrument's reading to the call's first, and from its last to the instrument's.
        assert reading.difference == pytest.approx(2 * TICK, rel=1e-3)
        assert reading.within


def test_late_instrument_is_found_out(host: Host) -> None:
    readings = read(host, late=5e-6)
    assert {seconds: reading.within for seconds, reading in readings.items()} == {
        50e-6: False,
        200e-6: False,
        1e-3: True,  # by 0.5%
        10e-3: True,
    }
    assert readings[200e-6].difference == pytest.approx(5.2e-6, rel=1e-3)


def test_every_round_counts_and_the_untimed_call_does_not(host: Host) -> None:
    job = CalibrationJob(device="cpu", delays=(1e-3,), seconds=0.04, rounds=2)
    [reading] = calibrate(CpuDelays(), CpuClock(), job)
    assert 30 < reading.samples <= 40


@pytest.fixture
def cuda(machine: Any) -> Callable[[], dict[tuple[str, float], Reading]]:
    """Calibrate the fake device."""

    def run() -> dict[tuple[str, float], Reading]:
        clock = CudaClock(torch.device("cuda:0"))
        job = CalibrationJob(device="cuda:0", seconds=0.03)
        readings = calibrate(CudaDelays(clock), clock, job)
        return {(reading.basis, reading.asked_seconds): reading for reading in readings}

    return run


def test_cycles_are_counted_on_the_clock_of_the_host(machine: Any, cuda: Any) -> None:
    machine.spin_launch = 15e-6
    readings = cuda()
    assert len(readings) == 2 * len(DELAYS)
    for (basis, seconds), reading in readings.items():
        assert reading.true_seconds == pytest.approx(seconds, rel=1e-4)
        launch = 0 if basis == "device" else 15e-6
        assert reading.difference == pytest.approx(launch, abs=1e-8)
    assert not readings["wall", 50e-6].within
    assert readings["device", 50e-6].within


def test_events_that_run_fast_are_found_out(
    machine: Any, cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA events take no part in the truth."""
    event = clock.torch.cuda.Event(enable_timing=True)
    elapsed = type(event).elapsed_time
    fast = lambda self, end: 1.03 * elapsed(self, end)  # noqa: E731
    monkeypatch.setattr(type(event), "elapsed_time", fast)
    for (basis, seconds), reading in cuda().items():
        wrong = basis == "device" and seconds > 100e-6  # 3% of 50 us are 1.5 us
        assert reading.within != wrong
        assert reading.true_seconds == pytest.approx(seconds, rel=1e-4)


def test_cycle_is_measured_anew_for_every_slice(machine: Any) -> None:
    cuda_clock = CudaClock(torch.device("cuda:0"))
    source = CudaDelays(cuda_clock)

    def take(call: Any) -> Any:
        return SimpleNamespace(wall=[cuda_clock.wall(call)])

    for rate in (0.9e9, 1.8e9):
        machine.cycles_per_second = rate
        found, [truth] = source.inject(1e-3, take)
        assert truth == pytest.approx(1e-3, rel=1e-4)
        assert found.wall == [pytest.approx(1e-3, rel=1e-4)]
