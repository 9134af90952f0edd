"""What else went on while calls were timed: the GPU by its driver, the CPU by the system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.record import (
    CPU_CLOCK_DROP,
    LOWEST_SM_CLOCK,
    OTHERS_CORES,
    SM_CLOCK_DROP,
    STOLEN_SHARE,
)

Reading = dict[str, float | int | None]
"""Quantities by name, as they stand in a record's ``telemetry``."""

# NVML's clock event reasons (nvml.h): bits that mean "slower than asked, by force".
_THROTTLE_BITS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
_IDLE = 0x1
_CLOCKS_ASKED_FOR = 0x2
"""Applications clocks are set: the clock is low because somebody wants it steady."""
_TICK = 0.02
"""Seconds by which CPU times of one window may be off: the kernel counts them in 10 ms."""


class NoTelemetry:
    """Stands in where there is no NVML; ``null_reasons`` say why ``telemetry`` is null."""

    def __init__(self, reason: str) -> None:
        self.null_reasons: Mapping[str, str] = {"telemetry": reason}

    def read(self) -> Reading:
        """Nothing."""
        return {}


class NvmlTelemetry:
    """Clocks, temperature, power, throttling and neighbours of one GPU.

    ``null_reasons`` say why a ``telemetry.FIELD`` of the last reading is null.

    Raises:
        Unsupported: NVML is not there or does not know the GPU.
    """

    def __init__(self, uuid: str, nvml: Any) -> None:
        self._nvml = nvml
        # Old versions of pynvml lack a function or two.
        self._failures: tuple[type[Exception], ...] = (AttributeError, *errors(nvml))
        self._handle = find_gpu(uuid, nvml)
        self.null_reasons: dict[str, str] = {}
        self.read()

    def read(self) -> Reading:
        """SM clock and its maximum (Hz), temperature (C), power (W), reason bits, processes."""
        nvml, gpu, sm = self._nvml, self._handle, self._nvml.NVML_CLOCK_SM
        queries: dict[str, list[Callable[[], float | int]]] = {
            "sm_clock_hz": [lambda: nvml.nvmlDeviceGetClockInfo(gpu, sm) * 1_000_000],
            "max_sm_clock_hz": [lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, sm) * 1_000_000],
            "temperature_celsius": [
                lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)
            ],
            "power_watts": [lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000],
            # NVML 12 calls the reasons "event", older ones "throttle": pynvml may know a name
            # that the driver does not.
            "throttle_bits": [
                lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
                lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu),
            ],
            "compute_processes": [lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(gpu))],
        }
        return {field: self._ask(field, *ways) for field, ways in queries.items()}

    def driver(self) -> str | None:
        """Return the version of the driver."""
        version: str | None = self._ask("driver", self._nvml.nvmlSystemGetDriverVersion)
        return version

    def _ask(self, field: str, *ways: Callable[[], Any]) -> Any:
        """Return the answer of the first way that works; None if none does, and note why."""
        for query in ways:
            try:
                answer = query()
            except self._failures as error:
                self.null_reasons[f"telemetry.{field}"] = f"NVML: {error}"
            else:
                self.null_reasons.pop(f"telemetry.{field}", None)
                return answer
        return None


Telemetry = NoTelemetry | NvmlTelemetry


def errors(nvml: Any) -> tuple[type[Exception], ...]:
    """Return what ``nvml`` raises; not all of it is an ``NVMLError``, and old ones lack some."""
    kinds = (getattr(nvml, name, None) for name in ("NVMLError", "NVMLLibraryMismatchError"))
    return tuple(kind for kind in kinds if kind is not None)


def find_gpu(uuid: str, nvml: Any) -> Any:
    """Return NVML's handle of the GPU that PyTorch calls ``uuid``, such as ``GPU-6a0e...``.

    Indices differ between NVML and CUDA, UUIDs do not.

    Raises:
        Unsupported: NVML is not there or does not know the GPU.
    """
    try:
        nvml.nvmlInit()
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except errors(nvml) as error:
        raise Unsupported(f"NVML does not answer for {uuid}: {error}") from None


def open_telemetry(uuid: str | None) -> Telemetry:
    """Return the telemetry of the GPU with ``uuid``, or a stand-in that says why not."""
    if uuid is None:
        return NoTelemetry("the device is no GPU")
    try:
        import pynvml  # type: ignore[import-untyped, unused-ignore]

        return NvmlTelemetry(uuid, pynvml)
    except (ImportError, Unsupported) as error:
        return NoTelemetry(str(error))


def throttle_words(bits: int) -> list[str]:
    """Name the throttle reasons set in NVML's ``bits``."""
    return [words for mask, words in _THROTTLE_BITS.items() if bits & mask]


@dataclass(frozen=True)
class Spent:
    """CPU seconds so far: of everybody on the usable cores, stolen from them, of the worker."""

    moment: float
    everybody: float
    stolen: float
    own: float


class HostLoad:
    """The cores this process may use, as the operating system accounts for them.

    Reading takes about 0.1 ms and happens outside of timed calls. Of the cores, ``needed`` are
    those that the worker keeps busy: others get what is left without harm.
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
    return max((core.current * 1e6 for core in every or [] if core.current), default=None)


def flags(readings: Sequence[Reading]) -> list[str]:
    """Return the validity flags that readings around the timed calls of one case justify.

    Over all windows together others must have used more than `OTHERS_CORES` of a core, or the
    hypervisor `STOLEN_SHARE` of one, and more than counting in ticks can feign.
    """
    raised = []
    if any(throttle_words(int(r.get("throttle_bits") or 0)) for r in readings):
        raised.append("throttled")
    fell = _fell(readings, "sm_clock_hz", SM_CLOCK_DROP)
    fell |= _fell(readings, "cpu_clock_hz", CPU_CLOCK_DROP)
    if fell or any(map(_sm_clock_is_low, readings)):
        raised.append("clock_drop")
    # One process is the worker; containers show its id as the host sees it, so count only.
    if any(int(r.get("compute_processes") or 0) > 1 for r in readings):
        raised.append("foreign_process")
    windows = [r for r in readings if r.get("window_seconds")]
    seconds = _total(windows, "window_seconds")
    slack = _TICK * len(windows)
    if _total(windows, "others_seconds") > OTHERS_CORES * seconds + slack:
        raised.append("cpu_busy")
    if _total(windows, "stolen_seconds") > STOLEN_SHARE * seconds + slack:
        raised.append("cpu_stolen")
    return raised


def _sm_clock_is_low(reading: Reading) -> bool:
    """Whether the SM clock lay far below its maximum under load."""
    clock, most = reading.get("sm_clock_hz"), reading.get("max_sm_clock_hz")
    under_load = not int(reading.get("throttle_bits") or 0) & (_IDLE | _CLOCKS_ASKED_FOR)
    return bool(clock and most and under_load and clock < LOWEST_SM_CLOCK * most)


def _fell(readings: Sequence[Reading], clock: str, share: float) -> bool:
    """Whether a clock was lower at one time than at another by more than ``share``."""
    values = [float(r[clock] or 0) for r in readings if r.get(clock)]
    return bool(values) and min(values) < (1 - share) * max(values)


def _total(readings: Sequence[Reading], field: str) -> float:
    return sum(float(reading.get(field) or 0.0) for reading in readings)
