"""Traces whose metrics were worked out by hand, to the nanosecond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.timeline.metrics import examine
from paraformer_bench.timeline.timeline import (
    BATCHED,
    CHAIN,
    CONCURRENT,
    INCOMPLETE,
    LAUNCH_BOUND,
    NO_OVERLAP,
    DeviceActivity,
    Timeline,
    along,
    say,
)
from tests.traces import Builder


def check(timeline: Timeline, **expected: Any) -> None:
    """Compare fields; those of seconds are given as whole nanoseconds."""
    for name, value in expected.items():
        seen = getattr(timeline, name)
        if name.endswith("_seconds"):
            value = [one / 1e9 for one in value] if isinstance(value, list) else value / 1e9
        assert seen == value, name


def serial(builder: Any) -> Any:
    def fill(step: int) -> None:
        for number in range(3):
            builder.call(number, 1_000 + 3_000 * number, 3_000 + 3_000 * number)
        builder.kernel(0, 10_001, 20_001, blocks=1)
        builder.kernel(1, 20_101, 30_101, blocks=2)
        builder.kernel(2, 30_301, 40_304, blocks=4)

    return builder.steps(fill)


def test_serial(builder: Any) -> None:
    timeline = examine(serial(builder).write()).timeline
    check(
        timeline,
        kind=CHAIN,
        on_gpu=True,
        steps=3,
        step="ProfilerStep#5",
        step_seconds=100_002,
        span_seconds=40_304,
        operations=3,
        kernels=3,
        matched=1.0,
        graph=False,
        streams=1,
        busy_seconds=30_003,
        union_seconds=30_003,
        concurrency=1.0,
        overlap_seconds=[10_301, 30_003],
        branches=0,
        chain_operations=3,
        chain_seconds=30_003,
        chain_share=1.0,
        idle_seconds=10_301,
        idle_host_seconds=3_000,
        idle_device_seconds=7_301,
        launch_bound=3_000 / 40_304,
        queue_seconds=14_101,
        devices={0: DeviceActivity(3, 30_003 / 1e9, 30_003 / 1e9)},
    )
    blocks = (1 * 10_000 + 2 * 10_000 + 4 * 10_003) / 30_003
    assert timeline.blocks_per_sm == pytest.approx(blocks, rel=1e-15)
    # 256 threads of 32 registers: eight such blocks fill the 2,048 threads and the registers.
    assert timeline.waves == pytest.approx(blocks / 8, rel=1e-15)
    assert timeline.branch_overlap_seconds is timeline.elements is timeline.peak_live_bytes is None
    fields = vars(timeline).items()
    assert set(timeline.null_reasons) == {name for name, value in fields if value is None}


def test_a_device_that_waits_for_the_host(builder: Any) -> None:
    def fill(step: int) -> None:
        for number in range(3):
            start = 10_000 * (number + 1)
            builder.call(number, start, start + 2_000)
            builder.kernel(number, start + 2_500, start + 3_500)

    timeline = examine(builder.steps(fill).write()).timeline
    check(
        timeline,
        kind=LAUNCH_BOUND,
        span_seconds=33_500,
        idle_seconds=30_500,
        idle_host_seconds=12_000 + 8_500 + 8_500,
        idle_device_seconds=1_500,
        launch_bound=29_000 / 33_500,
        queue_seconds=500,
        concurrency=1.0,
    )
    assert "87% of the span" in say(timeline)


def branches(builder: Any, *kernels: tuple[int, int, int, int]) -> Any:
    """Kernels as branch, stream, start and end; each branch calls from a mark of its own."""

    def fill(step: int) -> None:
        for number, (branch, stream, start, end) in enumerate(kernels):
            at = 1_000 * (number + 1)
            builder.branch(branch, at, at + 900)
            builder.add("cpu_op", "aten::addmm", at, at + 800, **{"Input Dims": [[2, 3], [3, 5]]})
            builder.call(number, at + 100, at + 700)
            builder.kernel(number, start, end, stream=stream)

    return builder.steps(fill)


def test_three_streams_that_never_overlap(builder: Any) -> None:
    kernels = ((0, 7, 10_000, 20_000), (1, 13, 20_000, 30_000), (2, 14, 30_000, 40_000))
    view = examine(branches(builder, *kernels).write())
    check(
        view.timeline,
        kind=NO_OVERLAP,
        streams=3,
        branches=3,
        branch_overlap_seconds=0,
        concurrency=1.0,
        overlap_seconds=[10_000, 30_000],
        chain_operations=3,
        chain_share=1.0,
        elements=3 * (6 + 15),
    )
    assert list(view.operations["branch"]) == [0, 1, 2]
    assert set(view.operations["operation"]) == {"aten::addmm"}
    assert view.operations["lane"].nunique() == 3
    assert list(view.operations["start_seconds"]) == [1e-5, 2e-5, 3e-5]
    assert list(view.operations["launch_seconds"]) == [1.7e-6, 2.7e-6, 3.7e-6]


def test_branches_side_by_side(builder: Any) -> None:
    kernels = ((0, 7, 10_000, 40_000), (1, 13, 20_000, 50_000), (2, 14, 30_000, 60_007))
    timeline = examine(branches(builder, *kernels).write()).timeline
    check(
        timeline,
        kind=CONCURRENT,
        streams=3,
        busy_seconds=90_007,
        union_seconds=50_007,
        concurrency=90_007 / 50_007,
        overlap_seconds=[10_000, 20_007, 20_000, 10_000],
        branch_overlap_seconds=30_000,
        chain_operations=1,
        chain_seconds=30_007,
        chain_share=30_007 / 90_007,
        idle_host_seconds=1_700,
        idle_device_seconds=8_300,
    )
    assert "1.80 at once" in say(timeline)


def test_streams_that_wait_for_the_host_are_streams_without_overlap(builder: Any) -> None:
    def fill(step: int) -> None:
        for number in range(2):
            builder.call(number, 20_000 * (number + 1), 20_000 * (number + 1) + 1_000)
            builder.kernel(
                number, 20_000 * (number + 1) + 2_000, 20_000 * (number + 1) + 3_000, stream=number
            )

    timeline = examine(builder.steps(fill).write()).timeline
    check(timeline, kind=NO_OVERLAP, idle_host_seconds=21_000 + 18_000, span_seconds=43_000)
    assert "91% of the span" in say(timeline)


def test_an_operation_of_two_kernels_counts_its_shapes_once(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.add("cpu_op", "aten::addmm", 500, 5_000, **{"Input Dims": [[2, 3]]})
        for number in range(2):
            builder.call(number, 1_000 + 1_000 * number, 1_500 + 1_000 * number)
            builder.kernel(number, 6_000 + 1_000 * number, 7_000 + 1_000 * number)

    check(examine(builder.steps(fill).write()).timeline, kernels=2, elements=6)


def test_one_branch_overlapping_itself_is_not_what_is_looked_for(builder: Any) -> None:
    kernels = ((0, 7, 10_000, 40_000), (0, 13, 10_000, 40_000), (1, 7, 40_000, 50_000))
    timeline = examine(branches(builder, *kernels).write()).timeline
    check(
        timeline,
        kind=NO_OVERLAP,
        branch_overlap_seconds=0,
        overlap_seconds=[10_000, 10_000, 30_000],
        concurrency=70_000 / 40_000,
    )


def batched(builder: Any, branches: int) -> Timeline:
    """All branches in each of three kernels, which take twice as long for eight times the work."""
    length = 10_000 if branches == 1 else 20_000

    def fill(step: int) -> None:
        builder.mark("branches/0", 500, 9_500)
        for number in range(3):
            builder.call(number, 1_000 + 3_000 * number, 3_000 + 3_000 * number)
            start = 10_001 + number * (length + 100)
            builder.kernel(number, start, start + length, blocks=0.5 * branches)

    return examine(builder.steps(fill).write()).timeline


def test_batched_branches_are_parallel_inside_the_kernels(tmp_path: Path) -> None:
    """Nothing overlaps and nothing grows in number: only the depths together tell it."""
    one, eight = (batched(Builder(tmp_path / str(n)), n) for n in (1, 8))
    for timeline in (one, eight):
        check(timeline, kind=CHAIN, kernels=3, concurrency=1.0, chain_share=1.0, branches=0)
    check(one, busy_seconds=30_000, span_seconds=40_201)
    check(eight, busy_seconds=60_000, span_seconds=70_201)
    curve = along({1: one, 8: eight})
    assert (curve.kind, curve.operations) == (BATCHED, [3, 3])
    assert (one.blocks_per_sm, eight.blocks_per_sm) == (0.5, 4.0)
    assert (one.waves, eight.waves) == (0.5 / 8, 0.5)
    assert "side by side inside" in curve.words


def test_parts_of_the_net_reach_the_picture(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.mark("layer/0", 500, 3_600)
        builder.mark("branches/0", 3_700, 12_600)
        builder.branch(0, 3_800, 6_600)
        builder.branch(1, 6_700, 9_600)
        for number in range(4):
            builder.call(number, 1_000 + 3_000 * number, 3_000 + 3_000 * number)
            builder.kernel(number, 20_000 + 5_000 * number, 24_000 + 5_000 * number)

    operations = examine(builder.steps(fill).write()).operations
    assert operations["layer"].tolist() == [0, -1, -1, -1]
    assert operations["place"].tolist() == [-1, 0, 0, 0]
    assert operations["branch"].tolist() == [-1, 0, 1, -1]
    assert operations["correlation"].nunique() == 4


def test_the_replay_of_a_graph(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.call(0, 1_000, 16_000, "cudaGraphLaunch")  # returns when nodes already run
        builder.kernel(0, 4_000, 14_000, stream=7, **{"graph node id": 101})
        builder.kernel(0, 14_500, 24_500, stream=8, **{"graph node id": 102})
        builder.kernel(0, 14_500, 20_000, stream=9, **{"graph node id": 103})

    timeline = examine(builder.steps(fill).write()).timeline
    check(
        timeline,
        kind=CONCURRENT,
        graph=True,
        kernels=3,
        matched=1.0,
        streams=None,
        union_seconds=20_000,
        busy_seconds=25_500,
        concurrency=25_500 / 20_000,
        overlap_seconds=[4_500, 14_500, 5_500],
        idle_host_seconds=4_000,
        idle_device_seconds=500,
        queue_seconds=0,
        chain_operations=2,
        chain_seconds=20_000,
    )
    assert "graph" in timeline.null_reasons["streams"]
    assert "graph" in timeline.null_reasons["branch_overlap_seconds"]


def test_a_graph_is_a_chain_on_however_many_lanes_it_shows(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000, "cudaGraphLaunch")
        builder.kernel(0, 4_000, 14_000, stream=7, **{"graph node id": 101})
        builder.kernel(0, 14_500, 24_500, stream=8, **{"graph node id": 102})

    check(examine(builder.steps(fill).write()).timeline, kind=CHAIN, streams=None)


def test_several_devices(builder: Any) -> None:
    def fill(step: int) -> None:
        for number in range(2):
            builder.call(number, 1_000 + 1_000 * number, 2_000 + 1_000 * number)
        builder.call(2, 3_000, 4_000, "cudaMemcpyAsync")
        builder.kernel(0, 5_000, 15_000, device=0)
        builder.kernel(1, 5_000, 12_000, device=1)
        builder.kernel(2, 15_000, 16_000, device=1, kind="gpu_memcpy")

    timeline = examine(builder.steps(fill).write()).timeline
    check(
        timeline,
        kind=CONCURRENT,
        operations=3,
        kernels=2,
        streams=2,
        overlap_seconds=[5_000, 4_000, 7_000],
        idle_host_seconds=2_000,  # until the first of the two that start together was launched
        idle_device_seconds=3_000,
        devices={
            0: DeviceActivity(1, 1e-5, 1e-5),
            1: DeviceActivity(2, 8e-6, 8e-6),
        },
        waves=None,  # nothing is known of the second device
    )


def test_a_device_clock_that_is_off_moves_no_kernel_to_another_step(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000)
        builder.kernel(0, -5_000, 7_000)

    timeline = examine(builder.steps(fill).write()).timeline
    check(timeline, kind=CHAIN, kernels=1, span_seconds=12_000, idle_seconds=0)
    check(timeline, overlap_seconds=[0, 12_000], idle_host_seconds=0, queue_seconds=0)


def test_a_dropped_kernel(builder: Any) -> None:
    def fill(step: int) -> None:
        for number in range(2):
            builder.call(number, 1_000, 2_000)
            if number == 0 or step != 2:
                builder.kernel(number, 5_000 + 2_000 * number, 6_000 + 2_000 * number)

    timeline = examine(builder.steps(fill).write()).timeline
    check(timeline, kind=INCOMPLETE, reason="steps ran between 1 and 2 kernels", kernels=None)
    assert say(timeline) == "trace incomplete: steps ran between 1 and 2 kernels"
    assert timeline.null_reasons["concurrency"] == timeline.reason


@pytest.mark.parametrize("lost", ["kernel", "call"])
def test_launches_and_kernels_that_do_not_have_each_other(builder: Any, lost: str) -> None:
    def fill(step: int) -> None:
        for number in range(50):
            if lost != "call" or number:
                builder.call(number, 100 * number, 100 * number + 50)
            if lost != "kernel" or number:
                builder.kernel(number, 10_000 + 100 * number, 10_100 + 100 * number)

    timeline = examine(builder.steps(fill).write()).timeline
    reason = "only 98.0% of launches and operations could be matched"
    check(timeline, kind=INCOMPLETE, reason=reason)


def test_a_graph_that_loses_different_nodes(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000, "cudaGraphLaunch")
        builder.kernel(0, 4_000, 14_000, **{"graph node id": 101 + step})

    timeline = examine(builder.steps(fill).write()).timeline
    check(timeline, kind=INCOMPLETE, reason="graph replays ran different nodes in different steps")


def test_the_first_step_says_nothing(builder: Any) -> None:
    def fill(step: int) -> None:
        for number in range(1 if step else 9):
            builder.call(number, 1_000, 2_000)
            builder.kernel(number, 5_000, 6_000)

    check(examine(builder.steps(fill).write()).timeline, kind=CHAIN, kernels=1, steps=3)


def test_too_few_steps(builder: Any) -> None:
    def fill(step: int) -> None:
        builder.call(0, 1_000, 2_000)
        builder.kernel(0, 5_000, 6_000)

    timeline = examine(builder.steps(fill, (100_000, 100_000)).write()).timeline
    reason = "only 1 steps are left after the first, 2 are needed"
    check(timeline, kind=INCOMPLETE, reason=reason)
