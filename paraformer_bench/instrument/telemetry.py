"""What the GPU's driver reports while cases are timed, through NVML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.record import LOWEST_SM_CLOCK, SM_CLOCK_DROP

Reading = dict[str, float | int | None]

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


class Telemetry(Protocol):
    """Reads the state of one device; tests use a fake one."""

    @property
    def null_reasons(self) -> Mapping[str, str]:
        """Why ``telemetry``, or a ``telemetry.FIELD`` of the last reading, is null."""

    def read(self) -> Reading:
        """State right now; fields that cannot be read are None."""


class NoTelemetry:
    """Stands in where there is no NVML."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.null_reasons: Mapping[str, str] = {"telemetry": reason}

    def read(self) -> Reading:
        """Nothing."""
        return {}


class NvmlTelemetry:
    """Clocks, temperature, power, throttling and neighbours of one GPU.

    Args:
        uuid: The GPU as PyTorch names it, such as ``GPU-6a0e...``; indices differ between NVML
            and CUDA, UUIDs do not.
        nvml: The ``pynvml`` module or a fake of it.

    Raises:
        Unsupported: NVML is not there or does not know the GPU.
    """

    def __init__(self, uuid: str, nvml: Any) -> None:
        self._nvml = nvml
        # Old versions of pynvml lack a function or two.
        self._failures: tuple[type[Exception], ...] = (AttributeError, *errors(nvml))
        self._handle = find_gpu(uuid, nvml)
        self._nulls: dict[str, str] = {}
        self.read()

    @property
    def null_reasons(self) -> Mapping[str, str]:
        """Why fields of the last reading are null."""
        return self._nulls

    def read(self) -> Reading:
        """SM clock and its maximum (Hz), temperature (C), power (W), reason bits, processes."""
        nvml, handle = self._nvml, self._handle
        clock, thermometer = nvml.NVML_CLOCK_SM, nvml.NVML_TEMPERATURE_GPU

        def reasons(kind: str) -> Callable[[], int]:
            query = f"nvmlDeviceGetCurrentClocks{kind}Reasons"
            return lambda: int(getattr(nvml, query)(handle))

        queries: dict[str, tuple[Callable[[], float | int], ...]] = {
            "sm_clock_hz": (lambda: nvml.nvmlDeviceGetClockInfo(handle, clock) * 1_000_000,),
            "max_sm_clock_hz": (
                lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, clock) * 1_000_000,
            ),
            "temperature_celsius": (lambda: nvml.nvmlDeviceGetTemperature(handle, thermometer),),
            "power_watts": (lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,),
            # NVML 12 calls the reasons "event", older ones "throttle": pynvml may know a name
            # that the driver does not.
            "throttle_bits": (reasons("Event"), reasons("Throttle")),
            "compute_processes": (lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),),
        }
        return {field: self._ask(field, *ways) for field, ways in queries.items()}

    def driver(self) -> str | None:
        """Return the version of the driver."""
        version: str | None = self._ask("driver", self._nvml.nvmlSystemGetDriverVersion)
        return version

    def _ask(self, field: str, *ways: Callable[[], Any]) -> Any:
        """Return what the first way that works finds; None if none does, and note why."""
        for query in ways:
            try:
                found = query()
            except self._failures as error:
                self._nulls[f"telemetry.{field}"] = f"NVML: {error}"
            else:
                self._nulls.pop(f"telemetry.{field}", None)
                return found
        return None


def errors(nvml: Any) -> tuple[type[Exception], ...]:
    """Return what ``nvml`` raises; not all of it is an ``NVMLError``, and old ones lack some."""
    found = (getattr(nvml, name, None) for name in ("NVMLError", "NVMLLibraryMismatchError"))
    return tuple(error for error in found if error is not None)


def find_gpu(uuid: str, nvml: Any) -> Any:
    """Return NVML's handle of the GPU with ``uuid``.

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


def flags(readings: Sequence[Reading]) -> list[str]:
    """Return the validity flags that readings taken right after timed slices justify."""
    found = []
    bits = [int(r["throttle_bits"] or 0) for r in readings if "throttle_bits" in r]
    if any(b & mask for b in bits for mask in _THROTTLE_BITS):
        found.append("throttled")
    if _clock_dropped(readings):
        found.append("clock_drop")
    # One process is the worker; containers show its id as the host sees it, so count only.
    if any(int(r.get("compute_processes") or 0) > 1 for r in readings):
        found.append("foreign_process")
    return found


def _clock_dropped(readings: Sequence[Reading]) -> bool:
    """Whether the SM clock fell between rounds, or lay far below its maximum under load."""
    clocks = [float(r["sm_clock_hz"] or 0) for r in readings if r.get("sm_clock_hz")]
    if clocks and min(clocks) < (1 - SM_CLOCK_DROP) * max(clocks):
        return True
    for reading in readings:
        clock, most = reading.get("sm_clock_hz"), reading.get("max_sm_clock_hz")
        under_load = not int(reading.get("throttle_bits") or 0) & (_IDLE | _CLOCKS_ASKED_FOR)
        if clock and most and under_load and clock < LOWEST_SM_CLOCK * most:
            return True
    return False


def throttle_words(bits: int) -> list[str]:
    """Name the throttle reasons set in NVML's ``bits``."""
    return [words for mask, words in _THROTTLE_BITS.items() if bits & mask]
