"""Wall and device time on a real GPU."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest
import torch

from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.study.case import Case

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]


def test_a_long_call_takes_the_same_on_both_clocks(gpu: Device) -> None:
    square = torch.randn(4096, 4096, device=gpu.torch_device)

    def call() -> object:
        x = square
        for _ in range(20):
            x = square @ x
        return x

    for _ in range(3):
        call()
    wall = median(gpu.clock.wall(call) for _ in range(5))
    samples = [gpu.clock.device(call) for _ in range(5)]
    assert all(sample is not None and not sample.dry for sample in samples)
    device = median(sample.seconds for sample in samples if sample is not None)
    assert device <= 1.02 * wall
    assert device > 0.9 * wall


def test_device_time_is_proportional_to_the_work(gpu: Device) -> None:
    def seconds(cycles: int) -> float:
        samples = [gpu.clock.device(lambda: torch.cuda._sleep(cycles)) for _ in range(5)]
        return median(sample.seconds for sample in samples if sample is not None)

    seconds(1_000_000)
    assert seconds(8_000_000) / seconds(2_000_000) == pytest.approx(4, rel=0.1)


def test_launches_of_a_deep_net_are_queued_ahead(gpu: Device, make_case: MakeCase) -> None:
    """At batch 1 the host launches kernels later than the GPU could run them."""
    bench = Builder(gpu, 0).prepare(make_case(depth=16), 0.2, {})
    samples = [gpu.clock.device(bench.call) for _ in range(20)]
    assert sum(sample is None or sample.dry for sample in samples) <= 2
    wall = median(gpu.clock.wall(bench.call) for _ in range(20))
    assert median(sample.seconds for sample in samples if sample is not None) < wall


def test_float32_is_float32(gpu: Device) -> None:
    """TF32 would give an error near 3e-4."""
    left, right = torch.randn(2, 512, 512, device=gpu.torch_device)
    exact = left.double() @ right.double()
    error = (left @ right - exact).norm() / exact.norm()
    assert error < 1e-5
