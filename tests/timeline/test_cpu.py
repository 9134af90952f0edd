"""Traces of a CPU: by hand, and of real nets against the counts of the dispatch mode."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, schedule

from paraformer_bench.instrument.counts import _NO_KERNEL, count
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.registry import EXECUTIONS, MODELS
from paraformer_bench.timeline.metrics import examine
from paraformer_bench.timeline.operations import ALLOCATIONS, COMPOSITES, VIEWS, counts
from paraformer_bench.timeline.timeline import BATCHED, CHAIN, Timeline, along


def test_by_hand(builder: Any) -> None:
    def fill(step: int) -> None:
        dims = {"Input Dims": [[5], [2, 3], [[4], [2, 2]], []]}
        builder.add("cpu_op", "aten::linear", 1_000, 10_003)
        builder.add("cpu_op", "aten::t", 1_001, 1_500)
        builder.add("cpu_op", "aten::addmm", 2_000, 10_000, **dims)
        builder.add("cpu_op", "aten::copy_", 2_500, 3_000)
        builder.add("cpu_op", "aten::gelu", 12_000, 15_007, **dims)
        builder.add("cpu_op", "aten::empty", 16_000, 17_000)
        builder.memory(2_100, 400)
        builder.memory(3_000, 200)
        builder.memory(3_100, 999, device_type=1)
        builder.memory(9_000, -500)

    view = examine(builder.steps(fill).write())
    timeline = view.timeline
    assert (timeline.kind, timeline.on_gpu, timeline.step) == (CHAIN, False, "ProfilerStep#5")
    assert (timeline.operations, timeline.chain_operations, timeline.chain_share) == (2, 2, 1.0)
    assert timeline.busy_seconds == timeline.union_seconds == 11_007 / 1e9
    assert timeline.span_seconds == 15_007 / 1e9
    assert timeline.idle_seconds == 4_000 / 1e9
    assert timeline.elements == 2 * (5 + 6 + 4 + 4)
    assert timeline.peak_live_bytes == 600
    assert list(view.memory["live_bytes"]) == [400, 600, 100]
    assert list(view.memory["seconds"]) == [2.1e-6, 3e-6, 9e-6]
    assert list(view.operations["name"]) == ["aten::addmm", "aten::gelu"]
    fields = vars(timeline).items()
    assert set(timeline.null_reasons) == {name for name, value in fields if value is None}
    assert timeline.concurrency is None
    assert "threads" in timeline.null_reasons["concurrency"]


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """With more, a small net on a busy machine waits for the slowest of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def traced(model: str, execution: str, depth: int, folder: Path) -> tuple[Timeline, int]:
    """The timeline of a real net, and the operations that the dispatch mode counts."""
    spec = ModelSpec(depth=depth, width=32, heads=1, image=32)
    net = MODELS.get(model).factory(spec).eval().requires_grad_(False).get_submodule("trunk")
    x = torch.ones(1, spec.tokens, spec.width)
    path = folder / f"{depth}.pt.trace.json.gz"
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        call = EXECUTIONS.get(execution).factory(net, x)
        counted = count(call, x).operations
        with profile(
            activities=[ProfilerActivity.CPU],
            schedule=schedule(wait=0, warmup=1, active=4, repeat=1),
            on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(path)),
            record_shapes=True,
            profile_memory=True,
        ) as profiler:
            for _ in range(5):
                call(x)
                profiler.step()
    return examine(path).timeline, counted


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize(
    ("model", "execution", "kind"),
    [
        ("serial", "loop", CHAIN),
        ("paraformer", "loop", CHAIN),
        ("paraformer", "stacked", BATCHED),
        ("paraformer", "vmap", CHAIN),
    ],
)
def test_operations_are_those_of_the_dispatch_mode(
    tmp_path: Path, model: str, execution: str, kind: str
) -> None:
    timelines = {}
    for depth in (1, 16):
        timeline, counted = traced(model, execution, depth, tmp_path)
        assert timeline.reason == ""
        assert timeline.operations == timeline.chain_operations == counted
        assert timeline.peak_live_bytes is not None
        assert timeline.peak_live_bytes > 0
        timelines[depth] = timeline
    assert along(timelines).kind == kind


def test_names_are_what_pytorch_says_of_them() -> None:
    def overloads(name: str) -> list[Any]:
        packet = getattr(torch.ops.aten, name)
        found = [getattr(packet, one) for one in packet.overloads()]
        return [one for one in found if "aten::" in one.name()]

    assert {packet.__name__ for packet in _NO_KERNEL} == ALLOCATIONS
    for name in VIEWS:
        assert any(one.is_view for one in overloads(name)), name
    for name in COMPOSITES:
        decomposes = (one for one in overloads(name) if "sublist" not in one.name())
        assert any(one._can_decompose() for one in decomposes), name
    assert not VIEWS & COMPOSITES


def test_marks_of_profiler_and_autograd_are_no_operations() -> None:
    for name in ("AddmmBackward0", "autograd::engine::evaluate_function: AddBackward0", "x"):
        assert not counts(name)
    assert counts("aten::addmm")
    assert counts("mylib::attention")
