"""How one call is timed: the host's clock, and the device's own events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch

Call = Callable[[], object]


class DeviceTime(NamedTuple):
    """Device time of one call in seconds, and whether the queue ran dry meanwhile."""

    seconds: float
    dry: bool


class Clock(Protocol):
    """What the sampler needs of a clock; tests use a fake one."""

    def now(self) -> float:
        """Seconds on the host's monotonic clock."""

    def wall(self, call: Call) -> float:
        """Seconds of one synchronised call on the host's clock."""

    def repeat(self, call: Call, times: int) -> float:
        """Seconds of so many calls back to back, until the device has done the last one."""

    def device(self, call: Call) -> DeviceTime | None:
        """Device time of one call; None where the device has no clock of its own."""


class CpuClock:
    """The host clock. A CPU call is over when it returns, so nothing needs synchronising."""

    def now(self) -> float:
        """Seconds on the host's monotonic clock."""
        return time.perf_counter()

    def wall(self, call: Call) -> float:
        """Seconds from before the call to after it."""
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    def repeat(self, call: Call, times: int) -> float:
        """Seconds from before the first call to after the last."""
        start = time.perf_counter()
        for _ in range(times):
            call()
        return time.perf_counter() - start

    def device(self, call: Call) -> None:
        """None: the CPU is the host."""
        return None


class CudaClock:
    """Host clock around synchronised calls, and CUDA events around queued-ahead ones.

    For device time the stream is first held busy by a spin kernel, so that by the time it gets
    to the call all of the call's launches are queued and none is late. If the device reached
    the start event before the host had launched everything, the queue may have run dry: the
    call is timed anew behind a longer spin, and if that does not help the sample says so.

    It never helps where the host itself waits for the spin: a stream holds about 1,000 launches
    (https://stackoverflow.com/questions/53970187), and a call may wait for the device within. Such
    a sample is taken behind as many launches as the queue holds, and counts as dry.

    Args:
        device: The CUDA device; its context must exist.
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

    def now(self) -> float:
        """Seconds on the host's monotonic clock."""
        return time.perf_counter()

    def wall(self, call: Call) -> float:
        """Seconds from before the call until the device is idle again."""
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        call()
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - start

    def repeat(self, call: Call, times: int) -> float:
        """Seconds from before the first call until the device is idle again."""
        torch.cuda.synchronize(self._device)
        start = time.perf_counter()
        for _ in range(times):
            call()
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - start

    def device(self, call: Call) -> DeviceTime:
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

    def _attempt(self, call: Call) -> DeviceTime:
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
        return DeviceTime(self._start.elapsed_time(self._end) / 1e3, dry)
