"""What is read from NVML and which flags follow, with a driver that is not there."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paraformer_bench.instrument import environment
from paraformer_bench.instrument.meters import (
    NoTelemetry,
    NvmlTelemetry,
    flags,
    open_telemetry,
    throttle_words,
)
from paraformer_bench.study.errors import Unsupported

UUID = "GPU-6a0e1c2b"


class NVMLError(Exception):
    """As pynvml names it."""


class NVMLLibraryMismatchError(Exception):
    """Raised by pynvml too, and not an `NVMLError`."""


def nvml(**changes: Any) -> SimpleNamespace:
    """A driver that knows one GPU; ``changes`` replace functions, an exception makes it fail."""

    def handle(uuid: str) -> str:
        if uuid != UUID:
            raise NVMLError("Not Found")
        return "handle"

    values: dict[str, Any] = {
        "nvmlDeviceGetClockInfo": 1_980,
        "nvmlDeviceGetMaxClockInfo": 2_010,
        "nvmlDeviceGetPowerUsage": 312_500,
        "nvmlDeviceGetComputeRunningProcesses": ["the worker"],
        "nvmlDeviceGetTemperature": 41,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1,
        "nvmlInit": None,
        "nvmlSystemGetDriverVersion": "580.1",
    } | changes

    def answer(value: Any) -> Any:
        def function(*args: Any) -> Any:
            if isinstance(value, Exception):
                raise value
            assert args[:1] in ((), ("handle",))
            return value

        return function

    functions = {name: answer(value) for name, value in values.items()}
    return SimpleNamespace(
        NVMLError=NVMLError,
        NVMLLibraryMismatchError=NVMLLibraryMismatchError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlDeviceGetHandleByUUID=handle,
        **functions,
    )


def test_a_reading_is_in_base_units() -> None:
    assert NvmlTelemetry(UUID, nvml()).read() == {
        "sm_clock_hz": 1_980_000_000,
        "max_sm_clock_hz": 2_010_000_000,
        "temperature_celsius": 41,
        "power_watts": 312.5,
        "throttle_bits": 1,
        "compute_processes": 1,
    }


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetClockInfo", "sm_clock_hz"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetCurrentClocksThrottleReasons", "throttle_bits"),
        ("nvmlDeviceGetComputeRunningProcesses", "compute_processes"),
    ],
)
def test_what_the_device_does_not_offer_is_none(function: str, field: str) -> None:
    for error in (NVMLError("Not Supported"), NVMLLibraryMismatchError("Not Supported")):
        telemetry = NvmlTelemetry(UUID, nvml(**{function: error}))
        reading = telemetry.read()
        assert [name for name, value in reading.items() if value is None] == [field]
        assert list(telemetry.null_reasons) == [f"telemetry.{field}"]


def test_reasons_are_told_before_the_first_reading_and_until_there_is_a_value() -> None:
    driver = nvml(nvmlDeviceGetPowerUsage=NVMLError("No Permission"))
    telemetry = NvmlTelemetry(UUID, driver)
    assert telemetry.null_reasons == {"telemetry.power_watts": "NVML: No Permission"}
    driver.nvmlDeviceGetPowerUsage = lambda handle: 300_000
    assert telemetry.read()["power_watts"] == 300
    assert telemetry.null_reasons == {}


def test_a_driver_that_has_only_the_old_name_of_the_reasons() -> None:
    """pynvml has both names whatever the driver has."""
    driver = nvml(
        nvmlDeviceGetCurrentClocksEventReasons=NVMLError("Function Not Found"),
        nvmlDeviceGetCurrentClocksThrottleReasons=0x8,
    )
    telemetry = NvmlTelemetry(UUID, driver)
    assert telemetry.read()["throttle_bits"] == 0x8
    assert telemetry.null_reasons == {}


@pytest.mark.parametrize("error", [NVMLError, NVMLLibraryMismatchError])
@pytest.mark.parametrize("function", ["nvmlDeviceGetMaxClockInfo", "nvmlSystemGetDriverVersion"])
def test_one_failure_costs_the_environment_one_fact(
    monkeypatch: pytest.MonkeyPatch, function: str, error: type[Exception]
) -> None:
    properties = SimpleNamespace(
        name="NVIDIA H100",
        uuid=UUID.removeprefix("GPU-"),
        total_memory=80 << 30,
        multi_processor_count=132,
        major=9,
        minor=0,
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(**{function: error("Not Supported")}))
    facts = environment.gpu_facts(0)
    assert "nvml" not in facts
    [null] = [name for name, value in facts.items() if value is None and name != "throttling"]
    assert null in ("max_sm_clock_hz", "driver")
    assert facts["null_reasons"] == {f"telemetry.{null}": "NVML: Not Supported"}
    assert facts["temperature_celsius"] == 41


def test_a_gpu_that_nvml_does_not_know_has_no_telemetry() -> None:
    with pytest.raises(Unsupported, match="GPU-other: Not Found"):
        NvmlTelemetry("GPU-other", nvml())


def test_a_driver_that_does_not_start_has_no_telemetry() -> None:
    with pytest.raises(Unsupported, match="Driver Not Loaded"):
        NvmlTelemetry(UUID, nvml(nvmlInit=NVMLError("Driver Not Loaded")))


def test_opening_picks_the_gpu_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    assert open_telemetry(UUID).read()["temperature_celsius"] == 41


def test_opening_says_why_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlInit=NVMLError("Driver Not Loaded")))
    stand_in = open_telemetry(UUID)
    assert isinstance(stand_in, NoTelemetry)
    assert (
        stand_in.null_reasons["telemetry"] == f"NVML does not answer for {UUID}: Driver Not Loaded"
    )
    assert stand_in.read() == {}


def test_opening_without_pynvml_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any) -> Any:
        if name == "pynvml":
            raise ImportError("No module named 'pynvml'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    stand_in = open_telemetry(UUID)
    assert isinstance(stand_in, NoTelemetry)
    assert "pynvml" in stand_in.null_reasons["telemetry"]


def test_a_device_that_is_no_gpu_has_none() -> None:
    stand_in = open_telemetry(None)
    assert isinstance(stand_in, NoTelemetry)
    assert stand_in.null_reasons["telemetry"] == "the device is no GPU"


# Flags


def reading(**fields: Any) -> dict[str, Any]:
    calm = {"sm_clock_hz": 1_980_000_000, "throttle_bits": 0x1, "compute_processes": 1}
    return calm | fields


def test_calm_readings_raise_no_flag() -> None:
    assert flags([reading(), reading(), reading()]) == []


@pytest.mark.parametrize("bit", [0x4, 0x8, 0x20, 0x40, 0x80])
def test_slowing_down_by_force_is_throttling(bit: int) -> None:
    assert flags([reading(), reading(throttle_bits=bit | 0x1)]) == ["throttled"]


@pytest.mark.parametrize("bit", [0x0, 0x1, 0x2, 0x10, 0x100])
def test_idling_and_asked_for_clocks_are_not(bit: int) -> None:
    assert flags([reading(throttle_bits=bit)]) == []


def test_a_clock_that_falls_by_more_than_five_percent_is_flagged() -> None:
    assert flags([reading(), reading(sm_clock_hz=1_881_100_000)]) == []
    assert flags([reading(), reading(sm_clock_hz=1_880_900_000)]) == ["clock_drop"]
    assert flags([reading(sm_clock_hz=1_880_900_000), reading()]) == ["clock_drop"]


def test_a_second_process_is_foreign() -> None:
    assert flags([reading(), reading(compute_processes=2), reading()]) == ["foreign_process"]


def test_all_flags_at_once() -> None:
    bad = reading(sm_clock_hz=10**9, throttle_bits=0x40, compute_processes=3)
    assert flags([reading(), bad]) == ["throttled", "clock_drop", "foreign_process"]


@pytest.mark.parametrize("empty", [[], [{}], [{}, {}]])
def test_no_readings_raise_no_flag(empty: list[dict[str, Any]]) -> None:
    assert flags(empty) == []


def test_fields_that_could_not_be_read_raise_no_flag() -> None:
    nothing = reading(sm_clock_hz=None, throttle_bits=None, compute_processes=None)
    assert flags([nothing, reading(), nothing]) == []


def test_throttle_bits_in_words() -> None:
    assert throttle_words(0x1) == []
    assert throttle_words(0x44) == ["power cap", "hardware thermal slowdown"]


def test_the_new_name_of_the_reasons_comes_first() -> None:
    driver = nvml(
        nvmlDeviceGetCurrentClocksEventReasons=0x4, nvmlDeviceGetCurrentClocksThrottleReasons=0x8
    )
    assert NvmlTelemetry(UUID, driver).read()["throttle_bits"] == 0x4


@pytest.mark.parametrize(
    ("clock", "bits", "dropped"),
    [
        (1_600, 0x0, False),
        (1_400, 0x0, True),
        (1_400, 0x4, True),  # power cap
        (1_400, 0x1, False),  # idle: that is no load
        (1_400, 0x2, False),  # applications clocks: somebody wants it so
    ],
)
def test_a_clock_far_below_its_maximum_under_load(clock: int, bits: int, dropped: bool) -> None:
    reading = {
        "sm_clock_hz": clock * 10**6,
        "max_sm_clock_hz": 1_980 * 10**6,
        "throttle_bits": bits,
    }
    assert ("clock_drop" in flags([reading, reading])) is dropped
