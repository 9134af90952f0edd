"""NVML finds the GPU that PyTorch measures on."""

from __future__ import annotations

import json

import pytest
import torch

from paraformer_bench.measure import environment
from paraformer_bench.measure.device import Device
from paraformer_bench.measure.telemetry import NvmlTelemetry

pytestmark = pytest.mark.gpu


def test_a_reading_comes_from_the_gpu_by_its_uuid(gpu: Device) -> None:
    assert isinstance(gpu.telemetry, NvmlTelemetry)
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
    assert facts["driver"]
