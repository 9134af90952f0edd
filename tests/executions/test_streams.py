"""`streams` against a stand-in for CUDA: what is ordered with what, and the sums.

Every operation of the call is seen below autograd, with the stream it would be launched on. A
stream's clock is the set of operations that are over when its next one starts; events and waits
carry clocks from stream to stream. Reading what is not over is a race, here as on a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paraformer_bench.executions import streams
from paraformer_bench.models._blocks import Block
from paraformer_bench.models._branches import Branches, EachBranch, SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS

Run = Callable[[Tensor], Tensor]
SPEC = ModelSpec(depth=1, width=8, heads=1, image=16)


@dataclass
class Event:
    """What was over, or queued before, when it was recorded."""

    clock: frozenset[int]


@dataclass(eq=False)
class Stream:
    """A queue of operations; those in ``clock`` are over when its next one starts."""

    name: str
    log: list[str]
    clock: set[int] = field(default_factory=set)
    device_index: int = 0

    def record_event(self) -> Event:
        self.log.append(f"{self.name} records")
        return Event(frozenset(self.clock))

    def wait_event(self, event: Event) -> None:
        self.log.append(f"{self.name} waits for the event")
        self.clock |= event.clock

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")
        self.clock |= other.clock


class FakeCuda:
    """Streams by name, the current one, and a log of waits and of switches between them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.main = self.current = Stream("main", self.log)
        self.sides: list[Stream] = []

    def Stream(self, device: int) -> Stream:  # noqa: N802 (torch's name)
        assert device == self.main.device_index
        self.sides.append(Stream(f"side {len(self.sides)}", self.log))
        return self.sides[-1]

    def current_stream(self) -> Stream:
        return self.current

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        self.log.append(f"{stream.name} begins")
        yield
        self.log.append(f"{stream.name} ends")
        self.current = before


@dataclass(frozen=True)
class Operation:
    """What was launched where, and what was over by then."""

    name: str
    stream: str
    after: frozenset[int]


class Watch(TorchDispatchMode):
    """Notes every operation, and every tensor that is read before it is there."""

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self._cuda = cuda
        self._writers: dict[int, int] = {}
        self._kept: list[object] = []  # an address must not be given to another tensor
        self.operations: list[Operation] = []
        self.races: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        out = func(*args, **kwargs or {})
        if func.is_view:
            return out
        stream, index = self._cuda.current, len(self.operations)
        self.operations.append(Operation(str(func), stream.name, frozenset(stream.clock)))
        for tensor in self._tensors((args, kwargs)):
            writer = self._writers.get(tensor.untyped_storage().data_ptr())
            if writer is not None and writer not in stream.clock:
                by = self.operations[writer]
                self.races.append(f"{func} on {stream.name} reads {by.name} of {by.stream}")
        stream.clock.add(index)
        for tensor in self._tensors(out):
            self._writers[tensor.untyped_storage().data_ptr()] = index
            self._kept.append(tensor)
        return out

    @staticmethod
    def _tensors(tree: object) -> list[Tensor]:
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    monkeypatch.setattr(streams, "torch", SimpleNamespace(cuda=fake, stack=torch.stack))
    streams._side_streams.cache_clear()
    yield fake
    streams._side_streams.cache_clear()


def frozen(net: nn.Module) -> Any:
    return net.double().eval().requires_grad_(False)


def branches_of(number: int) -> list[nn.Module]:
    torch.manual_seed(6)
    return [Block(SPEC) for _ in range(number)]


def watched(cuda: FakeCuda, net: Run, x: Tensor) -> tuple[Tensor, Watch]:
    """Call a net on an input that the main stream has just made, and read the output there."""
    with torch.inference_mode(), Watch(cuda) as watch:
        out = net(x * 1.0) * 1.0
    return out, watch


def error(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm() / right.norm())


@pytest.mark.parametrize("number", [1, 2, 5, 32, 33, 70])
@pytest.mark.parametrize("kind", [SumOfBranches, EachBranch])
def test_it_computes_what_the_loop_computes_without_a_race(
    cuda: FakeCuda, kind: type[Branches], number: int
) -> None:
    net = frozen(kind(branches_of(number)))
    shape = (2, 5, 8) if kind is SumOfBranches else (number, 2, 5, 8)
    x = torch.randn(shape, dtype=torch.float64)
    expected = net(x)
    run = EXECUTIONS.get("streams").factory(net, x)
    for _ in range(2):
        kept = x.clone()
        out, watch = watched(cuda, run, x)
        assert watch.races == []
        assert torch.equal(x, kept)
        assert error(out, expected) < 1e-14
        used = {operation.stream for operation in watch.operations}
        assert used == {"main"} | {f"side {i}" for i in range(min(number, 32))}
    assert len(cuda.sides) == 32


@pytest.mark.parametrize("kind", [SumOfBranches, EachBranch])
def test_side_streams_fork_from_and_join_the_current_stream(
    cuda: FakeCuda, kind: type[Branches]
) -> None:
    net = frozen(kind(branches_of(3)))
    EXECUTIONS.get("streams").factory(net, torch.zeros(1))
    net(
        torch.randn(3, 5, 8, dtype=torch.float64)
        if kind is SumOfBranches
        else torch.randn(3, 2, 5, 8, dtype=torch.float64)
    )
    each = [
        line
        for i in range(3)
        for line in (f"side {i} waits for the event", f"side {i} begins", f"side {i} ends")
    ]
    assert cuda.log == ["main records", *each, *(f"main waits for side {i}" for i in range(3))]


def test_branches_beyond_32_queue_on_the_same_streams_without_waiting_again(
    cuda: FakeCuda,
) -> None:
    net = frozen(SumOfBranches(branches_of(70)))
    EXECUTIONS.get("streams").factory(net, torch.zeros(1))
    net(torch.randn(2, 5, 8, dtype=torch.float64))
    begun = [line for line in cuda.log if line.endswith("begins")]
    assert begun == [f"side {i % 32} begins" for i in range(70)]
    for i in range(32):
        assert cuda.log.count(f"side {i} waits for the event") == 1
        assert cuda.log.count(f"main waits for side {i}") == 1
    assert cuda.log.index("side 0 waits for the event") < cuda.log.index("side 0 begins")


@pytest.mark.parametrize("kind", [SumOfBranches, EachBranch])
def test_branches_do_not_wait_for_each_other(cuda: FakeCuda, kind: type[Branches]) -> None:
    net = frozen(kind(branches_of(4)))
    shape = (2, 5, 8) if kind is SumOfBranches else (4, 2, 5, 8)
    EXECUTIONS.get("streams").factory(net, torch.zeros(1))
    _, watch = watched(cuda, net, torch.randn(shape, dtype=torch.float64))
    for operation in watch.operations:
        if operation.stream != "main":
            before = {watch.operations[index].stream for index in operation.after}
            assert before <= {"main", operation.stream}


def test_memory_is_not_reused_before_it_was_read(cuda: FakeCuda) -> None:
    """Why `record_stream` is not needed.

    A side stream's freed blocks are given out again to that stream alone, in its order. So all
    that read them elsewhere must be over before its next operation, in the next call at the
    earliest; and all that read the main stream's input must be over before main goes on.
    """
    net = frozen(SumOfBranches(branches_of(40)))
    EXECUTIONS.get("streams").factory(net, torch.zeros(1))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    with torch.inference_mode(), Watch(cuda) as watch:
        net(x)
        first_call = set(range(len(watch.operations)))
        assert cuda.main.clock == first_call
        net(x)
    for operation in watch.operations[len(first_call) :]:
        assert operation.after >= first_call


BRANCHED = [name for name in MODELS.names() if MODELS.get(name).traits.branched]


@pytest.mark.parametrize("model", BRANCHED)
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_it_runs_every_model_with_branches(cuda: FakeCuda, model: str, branch_depth: int) -> None:
    spec = ModelSpec(depth=4, width=16, heads=2, image=16, patch=8, branch_depth=branch_depth)
    net = frozen(MODELS.get(model).factory(spec))
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    with torch.inference_mode():
        expected = net(images)
    run = EXECUTIONS.get("streams").factory(net, images)
    for _ in range(2):
        out, watch = watched(cuda, run, images)
        assert watch.races == []
        assert error(out, expected) < 1e-13
    assert any(operation.stream == "side 1" for operation in watch.operations)


def without_join(stream: Stream, other: Stream) -> None:
    """Leave out the waits of the main stream."""


def without_fork(stream: Stream, event: Event) -> None:
    """Leave out the waits of the side streams."""


@pytest.mark.parametrize(
    ("wait", "broken", "words"),
    [
        ("wait_stream", without_join, "aten.(stack|cat).* on main reads .* of side"),
        ("wait_event", without_fork, "on side .* reads aten.mul.* of main"),
    ],
)
@pytest.mark.parametrize("kind", [SumOfBranches, EachBranch])
def test_a_wait_left_out_is_seen_as_a_race(
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Branches],
    wait: str,
    broken: Callable[..., None],
    words: str,
) -> None:
    """What the tests above would say of an execution that forgets to fork or to join."""
    monkeypatch.setattr(Stream, wait, broken)
    net = frozen(kind(branches_of(3)))
    shape = (2, 5, 8) if kind is SumOfBranches else (3, 2, 5, 8)
    EXECUTIONS.get("streams").factory(net, torch.zeros(1))
    _, watch = watched(cuda, net, torch.randn(shape, dtype=torch.float64))
    assert any(re.search(words, race) for race in watch.races), watch.races


@pytest.mark.parametrize("number", [1, 3, 40])
def test_products_can_be_done_beforehand_on_the_streams_of_a_net(
    cuda: FakeCuda, number: int
) -> None:
    warm = EXECUTIONS.get("streams").warm
    assert warm is not None
    places: list[str] = []
    warm(lambda: places.append(cuda.current.name), number)
    net = frozen(SumOfBranches(branches_of(number)))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    _, watch = watched(cuda, EXECUTIONS.get("streams").factory(net, x), x)
    used = {operation.stream for operation in watch.operations}
    assert len(places) == min(number, 32)
    assert set(places) == used - {"main"}


def test_it_is_for_cuda_and_for_models_with_branches() -> None:
    entry = EXECUTIONS.get("streams")
    assert entry.traits.devices == ("cuda",)
    assert entry.traits.needs_branches
    with pytest.raises(Unsupported, match="no branches"):
        entry.factory(nn.Linear(2, 2), torch.zeros(1))
