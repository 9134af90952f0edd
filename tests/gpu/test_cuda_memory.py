"""Memory of a case as the GPU's allocator counts it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.memory import release
from paraformer_bench.study.case import Case

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]
MIB = 2**20


def allocate(device: Device, mib: int) -> torch.Tensor:
    return torch.ones(mib * MIB, dtype=torch.uint8, device=device.torch_device)


def test_the_peak_of_a_known_allocation_is_exact(gpu: Device) -> None:
    gpu.memory.mark()
    weights = allocate(gpu, 32)
    allocate(gpu, 256)  # freed at once, as the gate's float64 copy is
    peak = gpu.memory.peak(lambda: allocate(gpu, 64))
    assert peak.peak_bytes == 96 * MIB
    assert peak.reserved_bytes is not None
    assert 96 * MIB <= peak.reserved_bytes <= 160 * MIB
    assert peak.null_reasons == {}
    del weights


@pytest.mark.parametrize("runtime", ["eager", "graph"])
def test_a_peak_covers_weights_and_activations(
    gpu: Device, make_case: MakeCase, runtime: str
) -> None:
    case = make_case(model="paraformer", execution="stacked", batch=16, runtime=runtime)
    facts = Builder(gpu, 0).prepare(case, 0.05, {}).facts
    # 8 branches' hidden units on 16 images are alive at once.
    activations = 8 * 16 * 197 * 768 * 4
    assert facts.peak_bytes >= facts.parameter_bytes + activations
    assert facts.peak_bytes <= facts.parameter_bytes + 4 * activations
    assert facts.reserved_bytes >= facts.peak_bytes


def test_what_is_dropped_is_given_back(gpu: Device, make_case: MakeCase) -> None:
    release(gpu.torch_device)
    before = torch.cuda.memory_reserved(gpu.torch_device)
    bench = Builder(gpu, 0).prepare(make_case(batch=64), 0.05, {})
    assert torch.cuda.memory_reserved(gpu.torch_device) > before
    del bench
    release(gpu.torch_device)
    assert torch.cuda.memory_reserved(gpu.torch_device) <= before + 64 * MIB
