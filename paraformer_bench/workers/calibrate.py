"""The calibrating process: injects known delays through the instrument and reads them.

Run as ``python -m paraformer_bench.workers.calibrate``, set up as a worker is. The job is one
line of JSON on stdin (see `CalibrationJob`); events are lines of JSON on stdout: ``read`` with a
`Reading` for every delay and basis, then ``done``.
"""

from __future__ import annotations

import gc
import json
import random
import sys
from dataclasses import dataclass, field
from statistics import median

from paraformer_bench.instrument.clock import Call, Clock
from paraformer_bench.instrument.delays import CpuDelays, CudaDelays, Delays
from paraformer_bench.instrument.device import at_work
from paraformer_bench.instrument.sampler import Slice, take_slice, warm_up
from paraformer_bench.study.calibration import CalibrationJob, Reading
from paraformer_bench.workers.process import ParentGone, die_with_parent, take_stdout

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
        bases = {"wall": self.wall, "device": self.device}
        return [
            Reading(basis, asked, true, median(samples), len(samples))
            for basis, samples in bases.items()
            if samples
        ]


def calibrate(delays: Delays, clock: Clock, job: CalibrationJob) -> list[Reading]:
    """Sample every delay in several shuffled rounds, as a worker samples its cases."""
    samples = {seconds: _Samples() for seconds in job.delays}
    for turn in range(job.rounds):
        order = list(samples)
        random.Random(turn).shuffle(order)
        for seconds in order:
            held = samples[seconds]

            def take(call: Call, earlier: list[float] = held.wall) -> Slice:
                if not earlier:
                    warm_up(call, clock, _WARM_UP_SECONDS)
                share = job.seconds / job.rounds
                return take_slice(call, clock, seconds=share, earlier=earlier, target=_NO_TARGET)

            found, truth = delays.inject(seconds, take)
            held.wall += found.wall
            held.device += found.device
            held.truth += truth
    return [one for seconds, held in samples.items() for one in held.readings(seconds)]


def main() -> int:
    """Run the job on stdin.

    Returns:
        0 when it was done.
    """
    emit = take_stdout()
    die_with_parent()
    job = CalibrationJob.from_json(json.loads(sys.stdin.readline()))
    try:
        with at_work(job.device) as device:
            gc.freeze()
            delays = CpuDelays() if job.device == "cpu" else CudaDelays(device.clock)
            for reading in calibrate(delays, device.clock, job):
                emit({"event": "read", "reading": reading.to_json()})
    except ParentGone:
        return 1
    emit({"event": "done"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
