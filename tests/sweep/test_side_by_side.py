"""Blocks side by side on a simulated cluster: whatever is lost, each case has one record."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paraformer_bench.clusters.node import Lost, Started
from paraformer_bench.clusters.ray import Slot
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import NoDevice
from paraformer_bench.study.events import Begin, CaseEvent, Ended, Event, Ready
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.record import BROKEN, Record
from paraformer_bench.study.run_folder import JOURNAL, RunInfo, read_run
from paraformer_bench.sweep.blocks import BlockRecords, OpenBlock, Pace
from paraformer_bench.sweep.side_by_side import (
    MOST_LOSSES,
    NO_DEVICE_SECONDS,
    QUEUE_SECONDS,
    REST_SECONDS,
    SILENCE_SECONDS,
    run_side_by_side,
)
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.supervise import supervise

A, B = Slot("a", 0), Slot("b", 0)


class Simulated:
    """A cluster without machines. Each `wait` takes a second and one event from every worker.

    Attributes:
        there: Slots that are there.
        happens: Called with the number of the turn at each `wait`; may change anything here.
        script: Called with worker number, slot and job; returns the events of the worker.
        running: By worker: its slot and what it will say.
        started: Slot and job of every worker, in their order.
        most: Workers that there were at once.
    """

    def __init__(self, slots: list[Slot], play: Callable[[BlockJob], Iterator[Event]]) -> None:
        self.now = 0.0
        self.there = slots
        self.turn = 0
        self.happens: Callable[[int], None] = lambda turn: None
        self.script: Callable[[int, Slot, BlockJob], Iterator[Event]] = lambda n, slot, job: play(
            job
        )
        self.running: dict[int, tuple[Slot, Iterator[Event]]] = {}
        self.started: list[tuple[Slot, BlockJob]] = []
        self.most = 0

    def clock(self) -> float:
        return self.now

    def slots(self) -> list[Slot]:
        return list(self.there)

    def start(self, slot: Slot, job: BlockJob) -> int:
        assert slot in self.there
        assert slot not in [used for used, _ in self.running.values()], "two at once"
        number = len(self.started)
        self.started.append((slot, job))
        self.running[number] = (slot, self.script(number, slot, job))
        self.most = max(self.most, len(self.running))
        return number

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        self.now += 1.0
        self.turn += 1
        assert self.turn < 5000, "it never ends"
        self.happens(self.turn)
        said = []
        for number, (_, events) in list(self.running.items()):
            event = next(events, None)
            if event is not None:
                said.append((number, event))
        return said

    def end(self, worker: int) -> None:
        self.running.pop(worker, None)

    def lose(self, node: str) -> None:
        """The machine dies with all that runs on it."""
        self.there = [slot for slot in self.there if slot.node != node]
        for number, (slot, _) in list(self.running.items()):
            if slot.node == node:
                self.running[number] = (slot, iter([Lost(reason="the node died")]))


class Outcome(NamedTuple):
    """How it ended: why it was stopped, records that broke, and blocks that are complete."""

    stopped: str = ""
    broken: int = 0
    blocks: int = 0


class Sweep:
    """Runs the blocks of a folder that are not done yet."""

    def __init__(self, folder: Path, simulated: Any, cases: list[Case], skipped: Case) -> None:
        self.folder = folder
        self.cases = cases
        self.skipped = skipped
        self.simulated = simulated
        self.devices = 0

    def cluster(self, *slots: Slot) -> Simulated:
        return Simulated(list(slots), self.play)

    def play(self, job: BlockJob) -> Iterator[Event]:
        """What comes from a node on which a worker plays."""
        yield Started()
        yield from supervise(self.simulated(job), 1.0, 1.0)

    def blocks(self, store: Store, number: int) -> Iterator[OpenBlock]:
        protocol = Protocol(rounds=2, timeout_seconds=30.0)
        groups = [self.cases] if self.cases else []
        for block in range(number):
            done = {case_id for case_id, b in store.done if b == block}
            job = BlockJob(device="cpu", block=block, protocol=protocol, seed=0, groups=groups)
            if not {case.id for case in [*self.cases, self.skipped]} <= done:
                record = Record(case=self.skipped, block=block, status="skipped", reason="no")
                yield OpenBlock(job.without(done), [record])

    def __call__(self, cluster: Simulated, blocks: int = 3, budget: float = math.inf) -> Outcome:
        everything = [*self.cases, self.skipped]
        resumed = self.folder.exists()
        store = (
            Store.resume(self.folder, everything)
            if resumed
            else Store.create(self.folder, RunInfo())
        )
        stopped, ended = "", 0
        with store:
            records = BlockRecords(store, lambda steps, what: None)
            pace = Pace(budget, cluster.clock)
            work = run_side_by_side(self.blocks(store, blocks), cluster, records, pace)
            try:
                with closing(work):
                    for _ in work:
                        ended += 1
            except (NoDevice, KeyboardInterrupt) as error:
                stopped = str(error) or type(error).__name__
            count = Counter(block for _, block in store.done)
        assert cluster.running == {}
        assert not (self.folder / JOURNAL).exists()
        self.devices = records.devices
        complete = sum(number == len(everything) for number in count.values())
        if not (resumed or stopped):
            assert ended == complete
        broken = sum(record.status in BROKEN for record in self.records.values())
        return Outcome(stopped, broken, complete)

    @property
    def records(self) -> dict[tuple[str, int], Record]:
        """Every record; two of one case and block would be a warning."""
        run = read_run(self.folder)
        assert run.warnings == []
        return {record.key: record for record in run.records}

    def whole(self, blocks: int = 3) -> dict[tuple[str, int], Record]:
        """Every record, which must be those of the plan."""
        records = self.records
        ids = [case.id for case in [*self.cases, self.skipped]]
        assert records.keys() == {(i, block) for i in ids for block in range(blocks)}
        return records


@pytest.fixture
def sweep(tmp_path: Path, simulated: Any, case_of: Any) -> Sweep:
    cases = [case_of(depth) for depth in (1, 2, 4)]
    return Sweep(tmp_path / "run", simulated, cases, case_of(1, runtime="graph"))


def test_blocks_run_side_by_side(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)
    assert sweep(cluster) == Outcome(blocks=3)
    records = sweep.whole()
    assert Counter(r.status for r in records.values()) == {"ok": 9, "skipped": 3}
    assert cluster.most == 2
    assert [(slot, job.block) for slot, job in cluster.started[:2]] == [(A, 0), (B, 1)]
    assert sweep.devices == 2


def test_nodes_fill_evenly(sweep: Sweep) -> None:
    """The devices of one node share its host."""
    cluster = sweep.cluster(A, Slot("a", 1), B, Slot("b", 1))
    sweep(cluster, 2)
    assert {slot.node for slot, _ in cluster.started} == {"a", "b"}


def test_node_lost_in_the_middle(sweep: Sweep) -> None:
    """What was sampled stays, the rest is measured on the other node, nothing twice."""
    cluster = sweep.cluster(A, B)
    # A worker that has started and is ready prepares 3 cases (2 events each), then samples.
    cluster.happens = lambda turn: cluster.lose("b") if turn == 13 else None
    assert sweep(cluster) == Outcome(blocks=3)
    records = sweep.whole()
    flags = Counter((key[1], tuple(r.flags)) for key, r in records.items() if r.flags)
    assert set(flags) == {(1, ("interrupted", "too_few_samples"))}
    again = [job for slot, job in cluster.started if job.block == 1][1]
    assert sum(map(len, again.groups)) == 3 - sum(flags.values()) > 0
    assert {slot for slot, _ in cluster.started[2:]} == {A}


def test_every_moment_of_losing_a_node(sweep: Sweep, tmp_path: Path) -> None:
    for turn in range(1, 40):
        sweep.folder = tmp_path / f"lost at {turn}"
        cluster = sweep.cluster(A, B)
        cluster.happens = lambda now, at=turn, c=cluster: c.lose("a") if now == at else None
        assert sweep(cluster) == Outcome(blocks=3)
        sweep.whole()


def test_lost_worker_goes_on_elsewhere_though_its_node_is_there(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)
    cluster.script = lambda n, slot, job: (
        iter([Started(), Lost(reason="gone")]) if n == 0 else sweep.play(job)
    )
    sweep(cluster)
    assert all(r.status in ("ok", "skipped") for r in sweep.whole().values())
    assert [slot for slot, job in cluster.started if job.block == 0] == [A, B]


def test_only_node_is_used_again_after_a_rest(sweep: Sweep) -> None:
    cluster = sweep.cluster(A)
    starts: list[float] = []

    def script(n: int, slot: Slot, job: BlockJob) -> Iterator[Event]:
        starts.append(cluster.now)
        return iter([Started(), Lost(reason="gone")]) if n == 0 else sweep.play(job)

    cluster.script = script
    sweep(cluster, 1)
    sweep.whole(1)
    assert starts[1] - starts[0] >= REST_SECONDS


def test_case_that_loses_its_workers_is_an_error_in_the_end(sweep: Sweep) -> None:
    """It takes its nodes down, say: it must not do so for ever."""
    bad = sweep.cases[1].id

    def script(n: int, slot: Slot, job: BlockJob) -> Iterator[Event]:
        for event in sweep.play(job):
            yield event
            if event == Begin(case_id=bad, stage="prepare"):
                yield Lost(reason="out of memory")
                return

    cluster = sweep.cluster(A, B)
    cluster.script = script
    assert sweep(cluster, 2).broken == 2
    records = sweep.whole(2)
    assert [r.reason for r in records.values() if r.status == "error"] == [
        f"{MOST_LOSSES} workers were lost while it was under way: out of memory"
    ] * 2
    assert all(r.status != "error" for key, r in records.items() if key[0] != bad)


def test_workers_that_come_to_nothing(sweep: Sweep) -> None:
    """The package does not start on any node, say: the sweep ends, with a reason each."""
    cluster = sweep.cluster(A, B)
    cluster.script = lambda n, slot, job: iter([Lost(reason="no such module")])
    assert sweep(cluster, 2).broken == 6
    reasons = {r.reason for r in sweep.whole(2).values() if r.status == "error"}
    assert reasons == {"3 workers in a row ended without a result: no such module"}


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (Ended(status="error", reason="killed by SIGSEGV"), "error"),
        (Ended(status="timeout", reason="no answer within 30 s"), "timeout"),
    ],
)
def test_crash_and_hang_of_a_case_are_results(sweep: Sweep, ending: Ended, status: str) -> None:
    """As on one machine: the case is to blame, and is not tried again."""
    bad = sweep.cases[0].id

    def script(n: int, slot: Slot, job: BlockJob) -> Iterator[Event]:
        for event in sweep.play(job):
            yield event
            if isinstance(event, Begin) and event.case_id == bad:
                yield ending
                return

    cluster = sweep.cluster(A, B)
    cluster.script = script
    sweep(cluster, 2)
    records = sweep.whole(2)
    found = {(r.status, r.reason) for key, r in records.items() if key[0] == bad}
    assert found == {(status, ending.reason)}
    assert len(cluster.started) == 4


def test_silent_worker_is_given_up(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)
    silent = [Started(), Ready()]
    cluster.script = lambda n, slot, job: iter(silent) if n == 0 else sweep.play(job)
    assert sweep(cluster, 2) == Outcome(blocks=2)
    sweep.whole(2)
    assert 30.0 + SILENCE_SECONDS < cluster.now < 2 * SILENCE_SECONDS + 60


def test_block_in_a_queue_is_taken_over(sweep: Sweep) -> None:
    """Somebody else uses B: its worker waits, and A takes the block when it has nothing to do."""
    cluster = sweep.cluster(A, B)
    cluster.script = lambda n, slot, job: iter(()) if slot == B else sweep.play(job)
    assert sweep(cluster, 3).blocks == 3
    sweep.whole()
    assert cluster.now >= QUEUE_SECONDS
    assert sweep.devices == 1


def test_budget_holds_whole_blocks_of_all_devices(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)
    sweep(cluster, 100, budget=130.0)
    blocks = len(cluster.started)
    assert blocks >= 4
    sweep.whole(blocks)
    assert cluster.now <= 130.0
    assert cluster.now + cluster.now / (blocks / 2) > 130.0, "there was time for more"


def test_block_in_a_queue_is_dropped_when_the_budget_is_spent(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)
    cluster.script = lambda n, slot, job: iter(()) if slot == B else sweep.play(job)
    sweep(cluster, 100, budget=60.0)
    done = {block for _, block in sweep.records}
    assert all(
        (case.id, block) in sweep.records
        for block in done
        for case in [*sweep.cases, sweep.skipped]
    )
    assert len(done) >= 2


def test_node_that_joins_takes_part(sweep: Sweep) -> None:
    cluster = sweep.cluster(A)
    cluster.happens = lambda turn: cluster.there.append(B) if turn == 5 else None
    sweep(cluster)
    sweep.whole()
    assert B in [slot for slot, _ in cluster.started]


def test_all_nodes_lost_for_long_stops_a_run_that_can_be_resumed(sweep: Sweep) -> None:
    cluster = sweep.cluster(A)
    cluster.happens = lambda turn: cluster.lose("a") if turn == 13 else None
    assert sweep(cluster).stopped == "for 10 minutes no device has been there and free"
    assert cluster.now >= NO_DEVICE_SECONDS
    before = sweep.records
    assert {r.status for r in before.values()} == {"ok", "skipped"}
    assert sweep(sweep.cluster(B)) == Outcome(blocks=3)
    assert sweep.whole().items() >= before.items()


def test_devices_that_others_use_for_long_stop_it_too(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)
    cluster.script = lambda n, slot, job: iter(())
    assert sweep(cluster).stopped
    assert sweep.records == {}
    assert sweep(sweep.cluster(B)) == Outcome(blocks=3)


def test_ctrl_c_ends_all_workers_and_keeps_their_samples(sweep: Sweep) -> None:
    cluster = sweep.cluster(A, B)

    def interrupt(turn: int) -> None:
        if turn == 13:
            raise KeyboardInterrupt

    cluster.happens = interrupt
    assert sweep(cluster).stopped == "KeyboardInterrupt"
    before = sweep.records
    assert {block for _, block in before} == {0, 1}
    assert any(r.flags == ["interrupted", "too_few_samples"] for r in before.values())
    cluster = sweep.cluster(A, B)
    assert sweep(cluster) == Outcome(blocks=3)
    assert sweep.whole().items() >= before.items()


def test_nothing_to_measure_needs_no_device(sweep: Sweep) -> None:
    sweep.cases.clear()
    cluster = sweep.cluster()
    assert sweep(cluster, 2) == Outcome(blocks=2)
    assert [r.status for r in sweep.whole(2).values()] == ["skipped"] * 2


def test_records_say_where_they_come_from(sweep: Sweep) -> None:
    def script(n: int, slot: Slot, job: BlockJob) -> Iterator[Event]:
        for event in sweep.play(job):
            if isinstance(event, CaseEvent):
                event.machine = {"host": slot.node}
            yield event

    cluster = sweep.cluster(A, B)
    cluster.script = script
    sweep(cluster)
    where = {job.block: slot.node for slot, job in cluster.started}
    for (_, block), record in sweep.whole().items():
        if record.status == "ok":
            assert record.telemetry["machine"] == {"host": where[block]}
