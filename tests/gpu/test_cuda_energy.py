"""Energy of calls on a real GPU, by the driver's own counter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.energy import NoMeter, Window, take_window
from paraformer_bench.study.case import Case

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]
Measure = Callable[[Callable[[], object]], Window]


@pytest.fixture
def measure(gpu: Device) -> Measure:
    """Take a window of 2 s."""
    if isinstance(gpu.meter, NoMeter):
        pytest.skip(gpu.meter.reason)
    return lambda call: take_window(call, gpu.clock, gpu.meter, seconds=2.0, limit=60.0)


def products(gpu: Device, count: int) -> Callable[[], object]:
    """A call of ``count`` equal products, which keep any GPU busy."""
    square = torch.randn(4096, 4096, device=gpu.torch_device, dtype=torch.bfloat16)
    out = torch.empty_like(square)

    def call() -> object:
        for _ in range(count):
            torch.mm(square, square, out=out)
        return out

    return call


def test_power_lies_between_idle_and_twice_the_board_s_limit(
    gpu: Device, measure: Measure
) -> None:
    import pynvml

    uuid = f"GPU-{torch.cuda.get_device_properties(gpu.torch_device).uuid}"
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    limit = pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3
    idle = measure(lambda: None)
    busy = measure(products(gpu, 8))
    assert 0 < idle.watts < busy.watts < 2 * limit


def test_a_window_is_as_long_and_as_full_as_it_should_be(gpu: Device, measure: Measure) -> None:
    call = products(gpu, 8)
    window = measure(call)
    assert 2.0 <= window.seconds < 4.0
    # Back to back: the calls fill the window, and are not slower than synchronised ones.
    each = sorted(gpu.clock.wall(call) for _ in range(9))[4]
    assert window.seconds / window.calls <= 1.2 * each


def test_twice_the_work_costs_twice_the_energy(gpu: Device, measure: Measure) -> None:
    once, twice = measure(products(gpu, 8)), measure(products(gpu, 16))
    assert twice.joules_per_call / once.joules_per_call == pytest.approx(2, rel=0.15)


def test_deeper_nets_cost_more(gpu: Device, measure: Measure, make_case: MakeCase) -> None:
    cases = [make_case(depth=depth, runtime="graph", batch=32) for depth in (2, 8)]
    shallow, deep = (measure(Builder(gpu, 0).prepare(case, 0.1, {}).call) for case in cases)
    assert deep.joules_per_call > 1.5 * shallow.joules_per_call


def test_a_replay_costs_no_more_than_eager_calls_of_the_same_net(
    gpu: Device, measure: Measure, make_case: MakeCase
) -> None:
    """At batch 1 the GPU waits for launches, and waiting costs energy too."""
    eager, graph = (
        measure(Builder(gpu, 0).prepare(make_case(depth=16, runtime=runtime), 0.1, {}).call)
        for runtime in ("eager", "graph")
    )
    assert graph.joules_per_call < 1.1 * eager.joules_per_call


def test_a_sweep_records_energy(cli: Any, files: Any, tmp_path: Path, measure: Measure) -> None:
    arguments = ["--suite", "energy", "--device", "cuda:0", "--profile", "none", "--blocks", "1"]
    arguments += ["--models", "serial", "--executions", "loop", "--depth", "1,4", "--batch", "1"]
    result = cli("sweep", *arguments, "--out", "run", cwd=tmp_path, gpu=True, patience=600)
    assert result.returncode == 0, result.stdout + result.stderr
    records = files.records(tmp_path / "run")
    assert len(records) >= 4
    for record in records:
        assert record.status == "ok", record.reason
        assert record.energy_joules is not None, record.null_reasons
        assert record.energy_joules > 0
        window = record.telemetry["energy"]
        assert window["seconds"] >= 2
        joules = window["watts"] * window["seconds"] / window["calls"]
        assert record.energy_joules == pytest.approx(joules)
