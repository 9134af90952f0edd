"""Which prepared cases are kept, let go and built again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from paraformer_bench.instrument.bench import Bench, Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.visit import Pool
from paraformer_bench.study.case import Case


class Workshop(Builder):
    """Builds nothing, and can run out of memory.

    Attributes:
        log: What was built, in order.
        room: How many builds in a row run out of memory first.
        error: What is raised then.
    """

    def __init__(self, device: Device) -> None:
        super().__init__(device, block=0)
        self.log: list[str] = []
        self.failures = 0
        self.error: Exception = MemoryError()

    def prepare(self, case: Case, *_: Any) -> Bench:
        return self._build("prepare", case)

    def rebuild(self, case: Case) -> Bench:
        return self._build("rebuild", case)

    def _build(self, what: str, case: Case) -> Bench:
        self.log.append(f"{what} {case.depth}")
        if self.failures:
            self.failures -= 1
            raise self.error
        return Bench(lambda: None)


@pytest.fixture
def workshop(device: Device) -> Workshop:
    return Workshop(device)


@pytest.fixture
def cases(make_case: Callable[..., Case]) -> list[Case]:
    return [make_case(depth=depth) for depth in (1, 2, 3)]


@pytest.fixture
def pool(workshop: Workshop) -> Pool:
    return Pool(workshop)


def test_what_is_prepared_is_kept(pool: Pool, workshop: Workshop, cases: list[Case]) -> None:
    benches = [pool.prepare(case, 1.0) for case in cases]
    assert [pool.get(case) for case in cases] == benches
    assert workshop.log == ["prepare 1", "prepare 2", "prepare 3"]


def test_a_full_memory_lets_go_of_all_others(
    pool: Pool, device: Any, workshop: Workshop, cases: list[Case]
) -> None:
    pool.prepare(cases[0], 1.0)
    device.memory.is_full = True
    pool.prepare(cases[1], 1.0)
    device.memory.is_full = False
    pool.get(cases[1])
    pool.get(cases[0])
    assert workshop.log == ["prepare 1", "prepare 2", "rebuild 1"]


def test_building_again_makes_room_too(
    pool: Pool, device: Any, workshop: Workshop, cases: list[Case]
) -> None:
    """When only one case fits at a time, each visit builds the one it is about."""
    device.memory.is_full = True
    for case in cases[:2]:
        pool.prepare(case, 1.0)
    for _ in range(2):
        for case in cases[:2]:
            pool.get(case)
    assert workshop.log == ["prepare 1", "prepare 2", *["rebuild 1", "rebuild 2"] * 2]


@pytest.mark.parametrize("step", ["prepare", "get"])
def test_out_of_memory_beside_others_is_tried_again_alone(
    pool: Pool, workshop: Workshop, cases: list[Case], step: str
) -> None:
    for case in cases:
        pool.prepare(case, 1.0)
    pool.drop(cases[2])
    workshop.log.clear()
    workshop.failures = 1
    bench = pool.prepare(cases[2], 1.0) if step == "prepare" else pool.get(cases[2])
    assert pool.get(cases[2]) is bench
    pool.get(cases[0])
    word = "prepare" if step == "prepare" else "rebuild"
    assert workshop.log == [f"{word} 3", f"{word} 3", "rebuild 1"]


@pytest.mark.parametrize("step", ["prepare", "get"])
def test_out_of_memory_is_tried_again_once(
    pool: Pool, workshop: Workshop, cases: list[Case], step: str
) -> None:
    pool.prepare(cases[0], 1.0)
    workshop.failures = 2
    with pytest.raises(MemoryError):
        pool.prepare(cases[1], 1.0) if step == "prepare" else pool.get(cases[1])
    assert len(workshop.log) == 3


def test_out_of_memory_alone_is_final(pool: Pool, workshop: Workshop, cases: list[Case]) -> None:
    workshop.failures = 1
    with pytest.raises(MemoryError):
        pool.prepare(cases[0], 1.0)
    assert workshop.log == ["prepare 1"]


def test_other_errors_are_final(pool: Pool, workshop: Workshop, cases: list[Case]) -> None:
    pool.prepare(cases[0], 1.0)
    workshop.failures, workshop.error = 1, ValueError("broken")
    with pytest.raises(ValueError, match="broken"):
        pool.prepare(cases[1], 1.0)
    pool.get(cases[0])
    assert workshop.log == ["prepare 1", "prepare 2"]


def test_with_a_graph_all_other_graphs_go(
    pool: Pool, workshop: Workshop, make_case: Callable[..., Case]
) -> None:
    """They share a capture stream, and with it memory that may go with the first of them."""
    graphs = [make_case(depth=depth, runtime="graph", device="cuda:0") for depth in (1, 2)]
    eager = make_case(depth=3)
    for case in (*graphs, eager):
        pool.prepare(case, 1.0)
    pool.drop(eager)
    pool.prepare(eager, 1.0)
    pool.get(graphs[1])
    workshop.log.clear()
    pool.drop(graphs[0])
    for case in (eager, graphs[1], graphs[1]):
        pool.get(case)
    assert workshop.log == ["rebuild 2"]


def test_the_other_graphs_go_with_one_that_was_never_ready(
    pool: Pool, workshop: Workshop, make_case: Callable[..., Case]
) -> None:
    """One that ended as a mismatch, say, had a graph too."""
    graphs = [make_case(depth=depth, runtime="graph", device="cuda:0") for depth in (1, 2)]
    pool.prepare(graphs[0], 1.0)
    pool.drop(graphs[1])
    pool.get(graphs[0])
    assert workshop.log == ["prepare 1", "rebuild 1"]


def test_dropping_what_is_not_there_is_no_error(pool: Pool, cases: list[Case]) -> None:
    pool.drop(cases[0])
    pool.drop_all()
