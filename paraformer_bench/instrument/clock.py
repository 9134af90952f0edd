"""How one call is timed: the host's clock, and the device's own events.

With calls whose true time is known, to see how well that goes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from paraformer_bench.instrument.sampler import Slice

Call = Callable[[], object]
Take = Callable[[Call], "Slice"]


class DeviceSample(NamedTuple):
    """Device time of one call in seconds, and whether the queue ran dry meanwhile."""

    seconds: float
    dry: bool


class CpuClock:
    """The host's clock. A CPU call is over when it returns, so nothing needs synchronising."""

    def now(self) -> float:
        """Seconds on the host's monotonic clock."""
        return time.perf_counter()

    def wall(self, call: Call) -> float:
        """Seconds from before the call to after it."""
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def repeat(self, call: Call, times: int) -> float:
        """Seconds from before the first call to after the last, as `wall` takes them."""

        def calls() -> None:
            for _ in range(times):
                call()

        return self.wall(calls)

    def device(self, call: Call) -> DeviceSample | None:
        """None: the CPU is the host."""
        return None


class CudaClock(CpuClock):
    """Host clock around synchronised calls, and CUDA events around queued-ahead ones.

    For device time the stream is first held busy by a spin kernel, so that by the time it gets
    to the call all of the call's launches are queued and none is late. If the device reached
    the start event before the host had launched everything, the queue may have run dry: the
    call is timed anew behind a longer spin, and if that does not help the sample says so.

    It never helps where the host itself waits for the spin: a stream holds about 1,000 launches
    (https://stackoverflow.com/questions/53970187), and a call may wait for the device within. Such
    a sample is taken behind as many launches as the queue holds, and counts as dry.

    The context of ``device`` must exist.
    """

    _SHORTEST_LEAD = 50e-6
    _LONGEST_LEAD = 0.2
    _ATTEMPTS = 3
    _WAITS = 1.5  # a lead so many times longer than launching was enough, unless the host waits
    _FIRST_GUESS = 1.5e9  # cycles a second, until the first spin has been timed

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = torch.cuda.Event(enable_timing=True)
        self._start = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        self._lead = self._SHORTEST_LEAD
        self._launch = 0.0  # of the last attempt
        self._cycles_per_second = self._FIRST_GUESS
        torch.cuda._sleep(1)  # loads the spin kernel: late once, and not when it matters
        self._attempt(lambda: None)

    def wall(self, call: Call) -> float:
        """Seconds from before the call until the device is idle again."""
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - start

    def device(self, call: Call) -> DeviceSample:
        """Seconds between events on the stream before and after the call's work."""
        free = math.inf  # the least time that launching took
        for _ in range(self._ATTEMPTS):
            lead = self._lead
            sample = self._attempt(call)
            if not sample.dry:
                break
            if lead >= self._WAITS * free:
                # A lead made from a launch that has waited for the last one would only grow.
                self._lead = self._SHORTEST_LEAD
                break
            free = min(free, self._launch)
        return sample

    def _attempt(self, call: Call) -> DeviceSample:
        torch.cuda.synchronize(self._device)
        cycles = int(self._lead * self._cycles_per_second)
        self._before.record()
        torch.cuda._sleep(cycles)
        self._start.record()
        begin = time.perf_counter()
        call()
        self._launch = time.perf_counter() - begin
        dry = self._start.query()
        self._end.record()
        self._end.synchronize()
        # Clocks move, and with them the length of a spin: each one calibrates the next.
        self._cycles_per_second = cycles / (self._before.elapsed_time(self._start) / 1e3)
        self._lead = min(max(2 * self._launch, self._SHORTEST_LEAD), self._LONGEST_LEAD)
        return DeviceSample(self._start.elapsed_time(self._end) / 1e3, dry)


Clock = CpuClock | CudaClock


class CpuDelays:
    """Spins on the host's clock. Each call knows how long it was by its own readings of it.

    It is the clock that the instrument reads too: this shows what the instrument adds to a call,
    not that the host's clock is right.
    """

    def inject(self, seconds: float, take: Take) -> tuple[Slice, list[float]]:
        """Let ``take`` sample a spin; return its samples and the truth of each wall sample."""
        seen: list[float] = []
        clock, note = time.perf_counter, seen.append

        def spin() -> None:
            start = clock()
            deadline = start + seconds
            while (now := clock()) < deadline:
                pass
            note(now - start)

        result = take(spin)
        return result, seen[-len(result.wall) :]


class CudaDelays:
    """Spins on the GPU for a number of cycles; how long a cycle is, the host's clock tells.

    Two spins much longer than any delay are timed on the host's clock. Launching and waiting cost
    both the same, so the difference of their times is that of their cycles. No CUDA event takes
    part, so for device time it is an independent truth. It is looked at before and after each
    slice, as the GPU's clock may move.

    Args:
        clock: The wall clock of the GPU.
    """

    _SHORT = 5_000_000  # 3 ms or so
    _LONG = 155_000_000  # 0.1 s or so: a host late by 0.1 ms is an error of 0.1%
    _SPINS = 3

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spin(self._SHORT)  # loads the kernel

    def inject(self, seconds: float, take: Take) -> tuple[Slice, list[float]]:
        """Let ``take`` sample a spin of about ``seconds``."""
        before = self._cycle()
        cycles = round(seconds / before)
        result = take(lambda: torch.cuda._sleep(cycles))
        truth = cycles * (before + self._cycle()) / 2
        return result, [truth] * len(result.wall)

    def _cycle(self) -> float:
        """Seconds of one cycle right now."""
        differences = [
            self._spin(self._LONG) - self._spin(self._SHORT) for _ in range(self._SPINS)
        ]
        return median(differences) / (self._LONG - self._SHORT)

    def _spin(self, cycles: int) -> float:
        return self._clock.wall(lambda: torch.cuda._sleep(cycles))


Delays = CpuDelays | CudaDelays
