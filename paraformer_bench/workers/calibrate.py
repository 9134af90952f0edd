"""Reading known delays: injected into the instrument, and read by it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from statistics import median

from paraformer_bench.instrument.clock import Call, Clock, CpuDelays, CudaDelays, Delays
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.sampler import Slice, take_slice, warm_up
from paraformer_bench.study.calibration import Reading
from paraformer_bench.study.events import Calibrated
from paraformer_bench.study.job import CalibrationJob
from paraformer_bench.workers.process import Reporter

_WARM_UP_SECONDS = 0.1
_NO_TARGET = -1.0  # no interval is that narrow: all the time is used


@dataclass
class _Samples:
    """What was read of one delay, and the truth of each wall sample."""

    wall: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)

    def readings(self, asked: float) -> list[Reading]:
        """Return a reading for each basis that has samples."""
        true = median(self.truth)
        wall = Reading("wall", asked, true, median(self.wall), len(self.wall))
        if not self.device:
            return [wall]
        return [wall, Reading("device", asked, true, median(self.device), len(self.device))]


def calibrate(delays: Delays, clock: Clock, job: CalibrationJob) -> list[Reading]:
    """Sample every delay in several shuffled rounds, as a worker samples its cases."""
    samples = {seconds: _Samples() for seconds in job.delays}
    for turn in range(job.rounds):
        order = list(samples)
        random.Random(turn).shuffle(order)
        for seconds in order:
            sampled = samples[seconds]

            def take(call: Call, earlier: list[float] = sampled.wall) -> Slice:
                if not earlier:
                    warm_up(call, clock, _WARM_UP_SECONDS)
                share = job.seconds / job.rounds
                return take_slice(call, clock, seconds=share, earlier=earlier, target=_NO_TARGET)

            taken, truth = delays.inject(seconds, take)
            sampled.wall += taken.wall
            sampled.device += taken.device
            sampled.truth += truth
    return [r for seconds, sampled in samples.items() for r in sampled.readings(seconds)]


def run(job: CalibrationJob, emit: Reporter, device: Device) -> None:
    """Inject known delays and read them through the instrument."""
    delays = CpuDelays() if job.device == "cpu" else CudaDelays(device.clock)
    emit(Calibrated(readings=calibrate(delays, device.clock, job)))
