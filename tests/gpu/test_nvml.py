"""NVML finds the GPU that PyTorch measures on."""

from __future__ import annotations

import json

import pytest
import torch

from paraformer_bench.instrument import environment
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.meters import NoTelemetry

pytestmark = pytest.mark.gpu


def skip_without_nvml(gpu: Device) -> None:
    """Containers may come without NVML, which is no fault of this package."""
    if isinstance(gpu.telemetry, NoTelemetry):
        pytest.skip(gpu.telemetry.null_reasons["telemetry"])


def test_a_reading_comes_from_the_gpu_by_its_uuid(gpu: Device) -> None:
    skip_without_nvml(gpu)
    reading = gpu.telemetry.read()
    clock, temperature = reading["sm_clock_hz"], reading["temperature_celsius"]
    assert clock is None or 1e8 < clock < 1e10
    assert temperature is None or 0 < temperature < 120
    assert any(value is not None for value in reading.values())


def test_the_environment_tells_the_gpu_s_facts() -> None:
    facts = environment.gpu_facts(0)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["name"] == torch.cuda.get_device_name(0)
    assert facts["uuid"].startswith("GPU-")
    assert facts["multiprocessors"] > 0


def test_the_environment_names_the_driver(gpu: Device) -> None:
    skip_without_nvml(gpu)
    assert environment.gpu_facts(0)["driver"]
