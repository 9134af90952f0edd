"""What else the host's CPU did while calls were timed: other programs, hypervisor, clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psutil

from paraformer_bench.instrument.telemetry import Reading
from paraformer_bench.study.record import CPU_CLOCK_DROP, OTHERS_CORES, STOLEN_SHARE

_TICK = 0.02
"""Seconds by which CPU times of one window may be off: the kernel counts them in 10 ms."""


class Host(Protocol):
    """Watches the host; tests use a fake one."""

    def begin(self) -> None:
        """Start a window."""

    def read(self) -> Reading:
        """What happened since `begin`; fields that the system does not offer are None."""

    def adopt(self, process: int) -> None:
        """Count the time of the process with this id as the worker's own."""


class NoHost:
    """Watches nothing."""

    def begin(self) -> None:
        """Nothing."""

    def read(self) -> Reading:
        """Nothing."""
        return {}

    def adopt(self, process: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far: of everybody on the usable cores, stolen from them, of the worker."""

    moment: float
    everybody: float
    stolen: float
    own: float


class HostLoad:
    """The cores this process may use, as the operating system accounts for them.

    Reading takes about 0.1 ms and happens outside of timed calls.

    Args:
        needed: Cores that the worker keeps busy: others get what is left without harm.
        spent: Reads the counters.
    """

    def __init__(self, needed: int, spent: Callable[[], Spent] | None = None) -> None:
        cpus = usable_cpus()
        self._spare = max(len(cpus) - needed, 0)
        self._cpus = cpus
        self._own = [psutil.Process()]
        self._spent = spent or (lambda: read_counters(self._own, cpus))
        self._start = self._spent()

    def adopt(self, process: int) -> None:
        """Count the time of the process with this id as the worker's own."""
        self._own.append(psutil.Process(process))

    def begin(self) -> None:
        """Start a window."""
        self._start = self._spent()

    def read(self) -> Reading:
        """Window (s), CPU seconds of others beyond what is spare, stolen seconds, clock (Hz)."""
        before, now = self._start, self._spent()
        window = now.moment - before.moment
        everybody, own = now.everybody - before.everybody, now.own - before.own
        others = max(everybody - own - self._spare * window, 0.0)
        return {
            "window_seconds": round(window, 6),
            "others_seconds": round(others, 6),
            "stolen_seconds": round(max(now.stolen - before.stolen, 0.0), 6),
            "cpu_clock_hz": _clock(self._cpus),
        }


def read_counters(processes: Iterable[psutil.Process], cpus: Sequence[int]) -> Spent:
    """Read the counters of the system and of the worker's processes."""
    own = [process.cpu_times() for process in processes]
    every = psutil.cpu_times(percpu=True)
    times = [every[cpu] for cpu in cpus if cpu < len(every)]
    busy = sum(
        t.user + t.nice + t.system + getattr(t, "irq", 0.0) + getattr(t, "softirq", 0.0)
        for t in times
    )
    stolen = sum(getattr(t, "steal", 0.0) for t in times)
    return Spent(time.perf_counter(), busy, stolen, sum(t.user + t.system for t in own))


def flags(readings: Sequence[Reading]) -> list[str]:
    """Return the flags that windows around the timed calls of one case justify.

    Over all windows together others must have used more than `OTHERS_CORES` of a core, or the
    hypervisor `STOLEN_SHARE` of one, and more than counting in ticks can feign.
    """
    windows = [r for r in readings if r.get("window_seconds")]
    seconds = _total(windows, "window_seconds")
    slack = _TICK * len(windows)
    found = []
    if _total(windows, "others_seconds") > OTHERS_CORES * seconds + slack:
        found.append("cpu_busy")
    if _total(windows, "stolen_seconds") > STOLEN_SHARE * seconds + slack:
        found.append("cpu_stolen")
    clocks = [float(r["cpu_clock_hz"] or 0) for r in readings if r.get("cpu_clock_hz")]
    if clocks and min(clocks) < (1 - CPU_CLOCK_DROP) * max(clocks):
        found.append("clock_drop")
    return found


def usable_cpus() -> list[int]:
    """Numbers of the cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _clock(cpus: Sequence[int]) -> float | None:
    """Fastest clock of the usable cores: a core that idles says nothing of those that work."""
    read: Any = getattr(psutil, "cpu_freq", None)
    try:
        every = read(percpu=True) if read else []
    except (OSError, RuntimeError):
        return None
    if len(every) > len(cpus):
        every = [every[cpu] for cpu in cpus if cpu < len(every)]
    return max((one.current * 1e6 for one in every or [] if one.current), default=None)


def _total(readings: Sequence[Reading], field: str) -> float:
    return sum(float(reading.get(field) or 0.0) for reading in readings)
