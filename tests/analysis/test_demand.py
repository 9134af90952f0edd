"""What a call asks of a device, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from paraformer_bench.analysis.latency_model import demand
from paraformer_bench.analysis.roofline import Roofline, Work
from paraformer_bench.study.case import Case
from paraformer_bench.study.ceilings import Ceilings

# 1e8 FLOPs take 1 ms; 1e6 bytes within a cache 25 us; 4e5 bytes 10 us; 4e3 bytes 0.1 us.
WORK = Work.of(
    [["addmm", 4, 10**8, 10**5], ["gelu", 2, 0, 10**6], ["norm", 8, 0, 4000], ["sum", 1, 0, 10**6]]
)


def test_on_a_cpu_launching_adds_to_the_work(
    ceilings: Ceilings, make_case: Callable[..., Case]
) -> None:
    found = demand(make_case(), "wall", WORK, 10**6, Roofline(ceilings, "float32"))
    assert found.host == pytest.approx(15 * 2e-6)
    assert found.floors == 0
    assert found.compute == pytest.approx(4e-3)
    assert found.bandwidth == pytest.approx(2 * 25e-6 + 8 * 1e-7)
    assert found.join == pytest.approx(25e-6)
    assert found.sync == 0
    assert not found.overlapped


def test_weights_that_no_cache_holds_come_from_memory(
    ceilings: Ceilings, make_case: Callable[..., Case]
) -> None:
    work = Work.of([["addmm", 1, 1, 10**7]])
    limits = Roofline(ceilings, "float32")
    small = demand(make_case(), "wall", work, 10**6, limits)
    large = demand(make_case(), "wall", work, 10**9, limits)
    assert small.bandwidth == pytest.approx(10**7 / 2e10)
    assert large.bandwidth == pytest.approx(10**7 / 1e10)


def test_on_a_gpu_what_is_small_takes_as_long_as_any(
    gpu_ceilings: Ceilings, make_case: Callable[..., Case]
) -> None:
    case = make_case(device="cuda:0")
    found = demand(case, "wall", WORK, 10**6, Roofline(gpu_ceilings, "float32"))
    assert found.floors == pytest.approx(8 * 1e-5)
    assert found.bandwidth == pytest.approx(2 * 25e-6)
    assert found.overlapped
    assert found.sync == pytest.approx(5e-6)
    assert found.host == pytest.approx(15 * 2e-6)


def test_a_graph_is_launched_once_and_device_time_never(
    gpu_ceilings: Ceilings, make_case: Callable[..., Case]
) -> None:
    limits = Roofline(gpu_ceilings, "float32")
    graph = make_case(device="cuda:0", runtime="graph")
    found = demand(graph, "wall", WORK, 10**6, limits)
    assert found.host == pytest.approx(2e-6)
    assert not found.overlapped
    on_device = demand(graph, "device", WORK, 10**6, limits)
    assert on_device.host == on_device.sync == 0


def test_streams_run_the_branches_side_by_side(
    gpu_ceilings: Ceilings, make_case: Callable[..., Case]
) -> None:
    """Four branches with one product each: as one product of 4e8 FLOPs, at 100 GFLOP/s."""
    limits = Roofline(gpu_ceilings, "float32")
    fields = {"device": "cuda:0", "depth": 4, "runtime": "graph"}
    in_turn = demand(make_case(execution="loop", **fields), "device", WORK, 10**6, limits)
    beside = demand(make_case(execution="streams", **fields), "device", WORK, 10**6, limits)
    assert in_turn.compute == pytest.approx(4e-3)
    assert beside.compute == pytest.approx(4e-3)  # the device is full: nothing is gained
    assert in_turn.floors == pytest.approx(8 * 1e-5)
    assert beside.floors == pytest.approx(2 * 1e-5)
    small = Work.of([["addmm", 4, 10**6, 10**3]])  # at a tenth of the rate each by itself
    in_turn = demand(make_case(execution="loop", **fields), "device", small, 10**3, limits)
    beside = demand(make_case(execution="streams", **fields), "device", small, 10**3, limits)
    assert in_turn.compute == pytest.approx(4e-4)
    assert beside.compute == pytest.approx(2e-4)
