"""Runtimes: `eager` as it is, `graph` against a stand-in for CUDA."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from paraformer_bench.runtimes import graph
from paraformer_bench.study.registry import RUNTIMES


class FakeCuda:
    """Records in what order streams, captures and replays are asked for.

    A capture notes the calls made while it is open; a replay repeats them, as CUDA would.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.capturing = False
        self.replays: list[Any] = []
        self.streams: list[object] = []

    def Stream(self) -> SimpleNamespace:  # noqa: N802 (torch's name)
        return SimpleNamespace(wait_stream=lambda other: self.log.append("side waits"))

    def current_stream(self) -> SimpleNamespace:
        return SimpleNamespace(wait_stream=lambda other: self.log.append("main waits"))

    @contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        self.streams.append(stream)
        self.log.append("side begins")
        yield
        self.log.append("side ends")

    def CUDAGraph(self) -> SimpleNamespace:  # noqa: N802 (torch's name)
        return SimpleNamespace(replay=lambda: [replay() for replay in self.replays])

    @contextmanager
    def graph(self, graph: object, stream: object) -> Iterator[None]:
        self.streams.append(stream)
        self.log.append("capture begins")
        self.capturing = True
        yield
        self.capturing = False
        self.log.append("capture ends")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    monkeypatch.setattr(graph, "torch", SimpleNamespace(cuda=fake))
    graph._capture_stream.cache_clear()
    yield fake
    graph._capture_stream.cache_clear()


def doubling(cuda: FakeCuda) -> Any:
    def call(x: Tensor) -> Tensor:
        cuda.log.append("call")
        out = 2 * x
        if cuda.capturing:
            cuda.replays.append(lambda: torch.mul(x, 2, out=out))
        return out

    return call


def test_eager_is_the_callable_itself() -> None:
    def call(x: Tensor) -> Tensor:
        return x

    assert RUNTIMES.get("eager").factory(call, torch.zeros(1)) is call


def test_graphs_are_for_cuda_alone() -> None:
    assert RUNTIMES.get("graph").traits.devices == ("cuda",)
    assert RUNTIMES.get("eager").traits.devices == ("cpu", "cuda")


def test_a_graph_is_warmed_up_on_a_side_stream_before_its_capture(cuda: FakeCuda) -> None:
    graph.wrap(doubling(cuda), torch.zeros(2))
    calls = ["call"] * graph.WARM_UP_CALLS
    assert cuda.log == [
        *("side waits", "side begins", *calls, "side ends", "main waits"),
        *("capture begins", "call", "capture ends"),
    ]


def test_a_replay_reads_the_example_where_it_lies(cuda: FakeCuda) -> None:
    example = torch.tensor([1.0, 2.0])
    replay = graph.wrap(doubling(cuda), example)
    before = len(cuda.log)
    assert replay(example).tolist() == [2.0, 4.0]
    example.fill_(5)
    assert replay(example).tolist() == [10.0, 10.0]
    assert len(cuda.log) == before  # replayed, never called again


def test_a_product_can_be_done_on_the_capture_stream_beforehand(cuda: FakeCuda) -> None:
    warm = RUNTIMES.get("graph").warm
    assert warm is not None
    warm(lambda: cuda.log.append("product"), 5)
    assert cuda.log == ["side begins", "product", "side ends"]
    capturing = cuda.streams[0]
    graph.wrap(doubling(cuda), torch.zeros(2))
    assert set(map(id, cuda.streams)) == {id(capturing)}
    assert RUNTIMES.get("eager").warm is None


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_nothing_is_collected_during_a_capture(cuda: FakeCuda, before: bool, fails: bool) -> None:
    """A dead graph in a cycle, freed then, would break it."""
    collecting: list[bool] = []

    def call(x: Tensor) -> Tensor:
        if cuda.capturing:
            collecting.append(gc.isenabled())
            if fails:
                raise ValueError("not to be captured")
        return x

    (gc.enable if before else gc.disable)()
    try:
        with pytest.raises(ValueError, match="not to be") if fails else nullcontext():
            graph.wrap(call, torch.zeros(1))
        assert gc.isenabled() == before
    finally:
        gc.enable()
    assert collecting == [False]


def test_another_input_is_copied_in(cuda: FakeCuda) -> None:
    example = torch.tensor([1.0, 2.0])
    replay = graph.wrap(doubling(cuda), example)
    other = torch.tensor([3.0, 4.0])
    assert replay(other).tolist() == [6.0, 8.0]
    assert example.tolist() == other.tolist()
    assert other.tolist() == [3.0, 4.0]
