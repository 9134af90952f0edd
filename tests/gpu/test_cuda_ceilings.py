"""The probe on a real GPU: figures that can be believed."""

from __future__ import annotations

import pytest
import torch

from paraformer_bench.instrument import ceilings
from paraformer_bench.instrument.device import open_device

pytestmark = pytest.mark.gpu


def test_costs_are_microseconds() -> None:
    device = open_device("cuda:0")
    where, clock = device.torch_device, device.clock
    node = ceilings.node_seconds(where, clock)
    assert node is not None
    assert 1e-7 < node < 2e-5
    assert 1e-6 < ceilings.launch_seconds(where, clock) < 1e-4
    assert 1e-7 < ceilings.sync_seconds(where, clock) < 1e-3


def test_copies_grow_into_a_rate_that_can_be_believed() -> None:
    device = open_device("cuda:0")
    free, _ = torch.cuda.mem_get_info()
    found = ceilings.copies(device.torch_device, device.clock, free // 4)
    rates = [copy.bytes_per_second for copy in found]
    assert 5e10 < rates[-1] < 1e13  # 0.05 to 10 TB/s from memory
    # 1 MiB takes less time to copy than the copy to start. How much faster than memory the cache
    # is differs: an H200's memory is nearly as fast.
    assert 2 * rates[0] < max(rates) < 3e13


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_grow_into_their_rate(dtype: str) -> None:
    device = open_device("cuda:0")
    found = ceilings.products(device.torch_device, device.clock, dtype)
    rates = [one.flops / one.seconds for one in found]
    assert max(rates) > 10 * rates[0]
    assert 1e12 < max(rates) < 3e15
