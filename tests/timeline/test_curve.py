"""Timelines against depth: what tells batched branches from a chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paraformer_bench.timeline.timeline import (
    BATCHED,
    CHAIN,
    CONCURRENT,
    FLAT,
    INCOMPLETE,
    LAUNCH_BOUND,
    Timeline,
    along,
    incomplete,
)

ONE = Timeline(CHAIN, on_gpu=True, kernels=12, operations=13, blocks_per_sm=0.5, waves=0.25)


def test_batched() -> None:
    deep = replace(ONE, blocks_per_sm=8.0, waves=4.0)
    curve = along({16: deep, 1: ONE})
    assert (curve.kind, curve.depths, curve.operations) == (BATCHED, [1, 16], [12, 12])
    assert curve.operations_per_block == pytest.approx(0, abs=1e-12)
    assert "side by side inside" in curve.words


def test_batched_work_shows_in_shapes_where_a_kernel_always_has_the_same_blocks() -> None:
    curve = along({1: replace(ONE, elements=100), 16: replace(ONE, elements=1_600)})
    assert curve.kind == BATCHED


def test_other_kernels_for_larger_operands_are_no_chain() -> None:
    """A split product is two kernels: more of them than before, but not with every block."""
    deep = replace(ONE, kernels=16, blocks_per_sm=8.0)
    assert along({1: ONE, 16: deep}).kind == BATCHED
    assert along({1: ONE, 16: replace(deep, kernels=12 + 15)}).kind == CHAIN


def test_launch_bound_and_batched_is_batched() -> None:
    shallow = replace(ONE, kind=LAUNCH_BOUND, launch_bound=0.75)
    curve = along({1: shallow, 16: replace(shallow, blocks_per_sm=8.0)})
    assert curve.kind == BATCHED
    assert curve.words.endswith("waiting for the host)")


def test_chain() -> None:
    curve = along({depth: replace(ONE, kernels=12 * depth - 2) for depth in (1, 4, 16)})
    assert curve.kind == CHAIN
    assert curve.operations_per_block == pytest.approx(12)
    assert curve.words == (
        "one operation after another, and with depth more of them (12 more for each block)"
    )


def test_chain_on_a_cpu_counts_operations() -> None:
    one = Timeline(CHAIN, operations=10, elements=100)
    curve = along({1: one, 16: replace(one, operations=160, elements=1_600)})
    assert (curve.kind, curve.operations) == (CHAIN, [10, 160])
    assert curve.operations_per_block == pytest.approx(10)


def test_concurrent_stays_concurrent() -> None:
    deep = replace(ONE, kind=CONCURRENT, blocks_per_sm=8.0, concurrency=3.5)
    assert along({1: ONE, 16: deep}).kind == CONCURRENT
    assert along({1: ONE, 16: replace(deep, kernels=192)}).kind == CONCURRENT


def test_no_more_work() -> None:
    assert along({1: ONE, 16: ONE}).kind == FLAT


def test_incomplete_depths_are_left_out() -> None:
    curve = along({1: ONE, 4: replace(ONE, kernels=48), 16: incomplete("cut off")})
    assert (curve.kind, curve.depths) == (CHAIN, [1, 4])
    assert curve.operations_per_block == pytest.approx(12)


def test_one_depth_has_no_slope() -> None:
    curve = along({4: ONE, 16: incomplete("cut off")})
    assert (curve.kind, curve.operations_per_block) == (CHAIN, None)
    assert "only other depths can show" in curve.words


def test_nothing_complete() -> None:
    curve = along({1: incomplete("cut off"), 16: incomplete("cut off")})
    assert (curve.kind, curve.words) == (INCOMPLETE, "trace incomplete: cut off")
    assert along({}).words == "trace incomplete: there is none"


def test_no_noise_of_the_fit_in_the_sentence() -> None:
    """The slope through equal numbers comes out as 5e-17."""
    deep = replace(ONE, kind=CONCURRENT, concurrency=2.0)
    words = along({1: deep, 3: deep, 16: deep}).words
    assert words.startswith("operations ran side by side: 2.00 at once on average; ")
    assert words.endswith("; hardly more of them at greater depth")
    more = replace(deep, kernels=192)
    assert along({1: deep, 16: more}).words.endswith("; 12 more of them for each block")
    fewer = replace(deep, kernels=6)
    assert along({1: deep, 16: fewer}).words.endswith("; hardly more of them at greater depth")
