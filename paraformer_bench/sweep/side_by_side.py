"""Several blocks at once, each on a device of its own; what is lost is begun again elsewhere.

All of it happens in one thread, so that the run folder has one writer and Ctrl-C ends all alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field

from paraformer_bench.clusters.node import Lost, Started
from paraformer_bench.clusters.ray import RayCluster, Slot
from paraformer_bench.study.errors import NoDevice
from paraformer_bench.study.events import Done, Ended, Event
from paraformer_bench.sweep.assemble import Assembly
from paraformer_bench.sweep.blocks import (
    BlockRecords,
    OpenBlock,
    Pace,
)
from paraformer_bench.workers.supervise import STARTUP_SECONDS

MOST_LOSSES = 3
"""Workers that may be lost while a case is under way before it is recorded as an error."""

REST_SECONDS = 10.0
"""After a worker was lost its node gets no other one for this long: it may be going down."""

QUEUE_SECONDS = 15.0
"""A worker that has not started by then waits for a device that somebody else uses."""

SILENCE_SECONDS = 60.0
"""A worker is lost when nothing was heard of it for this much longer than it may take."""

NO_DEVICE_SECONDS = 600.0
"""How long a sweep without a worker at work waits for a device: lost nodes are often replaced, and
others will have done with theirs."""

_TICK = 1.0


def run_side_by_side(
    blocks: Iterable[OpenBlock], cluster: RayCluster, records: BlockRecords, pace: Pace
) -> Generator[None, None, None]:
    """Run blocks on all devices of a cluster, each to its end, as far as ``pace`` allows.

    A case during which its process dies or hangs gets a record that says so, as it does on one
    machine. If instead the worker is lost, the case is no more to blame than the machine: it is
    measured again, up to `MOST_LOSSES` times. Close the iterator to end all workers.

    Yields:
        After each block.

    Raises:
        NoDevice: There is no device any more on which blocks could run.
    """
    schedule = _Schedule(iter(blocks), cluster, records, pace)
    try:
        more = True
        while more:
            more = schedule.turn()
            while schedule.finished:
                schedule.finished -= 1
                yield
    finally:  # on Ctrl-C too
        schedule.close()


@dataclass
class _Task:
    """A block that is not done, and what has happened to its workers so far."""

    block: OpenBlock
    begun: float | None = None
    losses: Counter[str] = field(default_factory=Counter)
    lost_on: str | None = None


@dataclass
class _Visit:
    """A worker at a block: when it was last heard, and for how long it may be silent."""

    task: _Task
    slot: Slot
    assembly: Assembly
    heard: float
    started: bool = False
    patience: float = math.inf


@dataclass
class _Schedule:
    """Which block is where. ``finished`` counts the blocks that were brought to their end."""

    blocks: Iterator[OpenBlock]
    cluster: RayCluster
    records: BlockRecords
    pace: Pace
    finished: int = 0
    visits: dict[int, _Visit] = field(default_factory=dict)
    waiting: list[_Task] = field(default_factory=list)
    next: _Task | None = None
    resting: dict[str, float] = field(default_factory=dict)  # until when nodes get no worker
    proven: set[Slot] = field(default_factory=set)  # where a worker has started
    worked: float | None = None  # when a worker was last at work

    def turn(self) -> bool:
        """Put blocks where there is room and hear what is said, unless nothing is left to do."""
        if not (self.visits or self.waiting or self._peek()):
            return False
        self._fill()
        now = self.pace.clock()
        if self.worked is None or any(visit.started for visit in self.visits.values()):
            self.worked = now
        elif now - self.worked > NO_DEVICE_SECONDS:
            minutes = f"{NO_DEVICE_SECONDS / 60:.0f} minutes"
            raise NoDevice(f"for {minutes} no device has been there and free")
        for number, event in self.cluster.wait(_TICK):
            if number in self.visits:
                self._hear(number, event)
        now = self.pace.clock()
        for number, visit in list(self.visits.items()):
            if now - visit.heard > visit.patience + SILENCE_SECONDS:
                self._lose(number, f"nothing was heard for {now - visit.heard:.0f} s")
        return True

    def close(self) -> None:
        """End all workers; what was sampled is kept."""
        while self.visits:
            self._end(next(iter(self.visits)))

    def _peek(self) -> _Task | None:
        """Return the next new block, if there is time for one; those without work pass by."""
        while self.next is None and self.pace.allows() and (block := next(self.blocks, None)):
            if block.job.groups:
                self.next = _Task(block)
            else:
                self.records.begin(block)
                self.finished += 1
        return self.next if self.pace.allows() else None

    def _fill(self) -> None:
        """Put blocks on the devices that are free, those that were lost before first."""
        now = self.pace.clock()
        used = {visit.slot for visit in self.visits.values()}
        free = [
            slot
            for slot in self.cluster.slots()
            if slot not in used and self.resting.get(slot.node, now) <= now
        ]
        for task in list(self.waiting):
            # Rather on another node than the one that was lost, if one is at work or free.
            working = {visit.slot.node for visit in self.visits.values() if visit.started}
            elsewhere = [slot for slot in free if slot.node != task.lost_on]
            if not elsewhere and not working - {task.lost_on}:
                elsewhere = free
            if elsewhere:
                self.waiting.remove(task)
                self._start(task, min(elsewhere, key=self._load), free)
        while free and (new := self._peek()):
            self.next = None
            self._start(new, min(free, key=self._load), free)
        self._take_over(free)

    def _load(self, slot: Slot) -> tuple[int, int]:
        """Nodes fill evenly: the devices of one share its host."""
        return sum(visit.slot.node == slot.node for visit in self.visits.values()), slot.number

    def _take_over(self, free: list[Slot]) -> None:
        """Give blocks that wait in a queue to devices that are free and known to work.

        One that was never begun is dropped instead when its time is up.
        """
        now = self.pace.clock()
        for number, visit in list(self.visits.items()):
            if visit.started or now - visit.heard < QUEUE_SECONDS:
                continue
            if visit.task.begun is None and not self.pace.allows():
                self._end(number)
            elif slot := next((slot for slot in free if slot in self.proven), None):
                self._end(number)
                self._start(visit.task, slot, free)

    def _start(self, task: _Task, slot: Slot, free: list[Slot]) -> None:
        free.remove(slot)
        job = task.block.job
        number = self.cluster.start(slot, job)
        self.visits[number] = _Visit(task, slot, Assembly.of(job), self.pace.clock())
        self.records.at_once = len(self.visits)

    def _hear(self, number: int, event: Event) -> None:
        visit = self.visits[number]
        visit.heard = self.pace.clock()
        job = visit.task.block.job
        if isinstance(event, Lost):
            self._lose(number, event.reason)
        elif isinstance(event, Started):
            visit.started = True
            visit.patience = max(job.protocol.timeout_seconds, STARTUP_SECONDS)
            self.proven.add(visit.slot)
            at_work = sum(visit.started for visit in self.visits.values())
            self.records.devices = max(self.records.devices, at_work)
            if visit.task.begun is None:
                visit.task.begun = visit.heard
                self.records.begin(visit.task.block)
        else:
            visit.patience = job.protocol.timeout_seconds
            self.records.take(event, visit.assembly, job)
            if isinstance(event, Ended):
                self._leave(number, event.reason)
            elif isinstance(event, Done):
                self._leave(number, "the worker left out cases")

    def _lose(self, number: int, reason: str) -> None:
        """Measure again what the worker was at, unless that went wrong too often."""
        visit = self.visits[number]
        task, current = visit.task, visit.assembly.current
        if current is not None:
            task.losses[current] += 1
            if task.losses[current] == MOST_LOSSES:
                reason = f"{MOST_LOSSES} workers were lost while it was under way: {reason}"
                self.records.fail("error", reason, visit.assembly, task.block.job)
        task.lost_on = visit.slot.node
        self.resting[visit.slot.node] = self.pace.clock() + REST_SECONDS
        self._leave(number, reason)

    def _leave(self, number: int, ending: str) -> None:
        """End a worker; its block goes on with another one unless it is done."""
        task = self.visits[number].task
        self._end(number)
        if self.records.leave(task.block, ending):
            self.waiting.append(task)
            return
        if task.begun is not None:
            self.pace.note(self.pace.clock() - task.begun)
        self.finished += 1

    def _end(self, number: int) -> None:
        """End a worker; keep what there is of the cases that it had begun."""
        visit = self.visits.pop(number)
        self.records.at_once = max(len(self.visits), 1)
        self.records.salvage(visit.assembly, visit.task.block.job)
        self.cluster.end(number)
