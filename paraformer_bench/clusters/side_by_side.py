"""Several blocks at once, each on a device of its own; what is lost is begun again elsewhere.

Knows nothing of Ray: a `Cluster` has devices, starts workers on them and says what they say. All
of it happens in one thread, so that the run folder has one writer and Ctrl-C ends all alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from paraformer_bench.study.assemble import Assembly
from paraformer_bench.study.events import Done, Ended, Event
from paraformer_bench.study.job import BlockJob
from paraformer_bench.workers.blocks import (
    STARTUP_SECONDS,
    BlockRecords,
    NoDevice,
    OpenBlock,
    Pace,
)

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


class Started(Event, kw_only=True):
    """A worker that was queued has its device.

    Attributes:
        gpu: Which GPU of the node that is, if it is one.
    """

    gpu: str | None = None


class Lost(Event, kw_only=True):
    """The machine of a worker is gone, or whatever else is no fault of the case under way.

    Attributes:
        reason: What happened, in a line.
    """

    reason: str


@dataclass(frozen=True)
class Slot:
    """A device that runs one block at a time.

    Attributes:
        node: The machine that it is in, by an id that no other one has.
        number: Which of the devices of that machine.
    """

    node: str
    number: int


class Cluster(Protocol):
    """Machines that measure blocks."""

    def slots(self) -> list[Slot]:
        """Return every device that can be used now, those at work too."""

    def start(self, slot: Slot, job: BlockJob) -> int:
        """Start a worker on a job when the device is free; return the number of the worker."""

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what workers said since the last time, waiting a while if they said nothing.

        Beside the events that `supervise` yields there are `Started` and `Lost`.
        """

    def end(self, worker: int) -> None:
        """End a worker if it still runs; nothing is heard of it any more."""


def run_side_by_side(
    blocks: Iterable[OpenBlock], cluster: Cluster, records: BlockRecords, pace: Pace
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
    """A worker and what is known of it."""

    task: _Task
    slot: Slot
    job: BlockJob
    assembly: Assembly
    heard: float
    started: bool = False
    ready: bool = False


class _Schedule:
    """Which block is where. ``finished`` counts the blocks that were brought to their end."""

    def __init__(
        self, blocks: Iterator[OpenBlock], cluster: Cluster, records: BlockRecords, pace: Pace
    ) -> None:
        self.finished = 0
        self._blocks = blocks
        self._cluster = cluster
        self._records = records
        self._pace = pace
        self._visits: dict[int, _Visit] = {}
        self._waiting: list[_Task] = []
        self._next: _Task | None = None
        self._resting: dict[str, float] = {}
        self._proven: set[Slot] = set()
        self._idle_since: float | None = None

    def turn(self) -> bool:
        """Put blocks where there is room and hear what is said, unless nothing is left to do."""
        if not (self._visits or self._waiting or self._peek()):
            return False
        self._fill()
        now = self._pace.clock()
        if any(visit.started for visit in self._visits.values()):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > NO_DEVICE_SECONDS:
            minutes = f"{NO_DEVICE_SECONDS / 60:.0f} minutes"
            raise NoDevice(f"for {minutes} no device has been there and free")
        for number, event in self._cluster.wait(_TICK):
            if number in self._visits:
                self._hear(number, event)
        self._look_for_the_silent()
        return True

    def close(self) -> None:
        """End all workers; what was sampled is kept."""
        while self._visits:
            self._end(next(iter(self._visits)))

    def _peek(self) -> _Task | None:
        """Return the next new block, if there is time for one; those without work pass by."""
        while self._next is None and self._pace.allows():
            block = next(self._blocks, None)
            if block is None:
                return None
            if block.job.groups:
                self._next = _Task(block)
            else:
                self._records.begin(block)
                self.finished += 1
        return self._next if self._pace.allows() else None

    def _fill(self) -> None:
        """Put blocks on the devices that are free, those that were lost before first."""
        now = self._pace.clock()
        used = {visit.slot for visit in self._visits.values()}
        free = [
            slot
            for slot in self._cluster.slots()
            if slot not in used and self._resting.get(slot.node, now) <= now
        ]
        for task in list(self._waiting):
            if slot := self._slot_for(task, free):
                self._waiting.remove(task)
                self._start(task, slot, free)
        while free and (new := self._peek()) is not None:
            self._next = None
            self._start(new, min(free, key=self._load), free)
        self._take_over(free)

    def _slot_for(self, task: _Task, free: list[Slot]) -> Slot | None:
        """Return a free device on another node than the one that was lost, if there is any."""
        if elsewhere := [slot for slot in free if slot.node != task.lost_on]:
            return min(elsewhere, key=self._load)
        working = {visit.slot.node for visit in self._visits.values() if visit.started}
        if working - {task.lost_on}:
            return None  # one of them will be free
        return min(free, key=self._load, default=None)

    def _load(self, slot: Slot) -> tuple[int, int]:
        """Nodes fill evenly: the devices of one share its host."""
        return sum(visit.slot.node == slot.node for visit in self._visits.values()), slot.number

    def _take_over(self, free: list[Slot]) -> None:
        """Give blocks that wait in a queue to devices that are free and known to work.

        One that was never begun is dropped instead when its time is up.
        """
        now = self._pace.clock()
        for number, visit in list(self._visits.items()):
            if visit.started or now - visit.heard < QUEUE_SECONDS:
                continue
            if visit.task.begun is None and not self._pace.allows():
                self._end(number)
            elif slot := next((slot for slot in free if slot in self._proven), None):
                self._end(number)
                self._start(visit.task, slot, free)

    def _start(self, task: _Task, slot: Slot, free: list[Slot]) -> None:
        free.remove(slot)
        job = task.block.job
        number = self._cluster.start(slot, job)
        self._visits[number] = _Visit(task, slot, job, Assembly.of(job), self._pace.clock())
        self._records.at_once = len(self._visits)

    def _hear(self, number: int, event: Event) -> None:
        visit = self._visits[number]
        visit.heard = self._pace.clock()
        if isinstance(event, Lost):
            self._lose(number, event.reason)
        elif isinstance(event, Started):
            visit.started = True
            self._proven.add(visit.slot)
            at_work = sum(visit.started for visit in self._visits.values())
            self._records.devices = max(self._records.devices, at_work)
            if visit.task.begun is None:
                visit.task.begun = visit.heard
                self._records.begin(visit.task.block)
        else:
            visit.ready = True
            self._records.take(event, visit.assembly, visit.job)
            if isinstance(event, Ended):
                self._leave(number, event.reason)
            elif isinstance(event, Done):
                self._leave(number, "the worker left out cases")

    def _lose(self, number: int, reason: str) -> None:
        """Measure again what the worker was at, unless that went wrong too often."""
        visit = self._visits[number]
        current = visit.assembly.current
        if current is not None:
            visit.task.losses[current] += 1
            if visit.task.losses[current] == MOST_LOSSES:
                reason = f"{MOST_LOSSES} workers were lost while it was under way: {reason}"
                self._records.fail("error", reason, visit.assembly, visit.job)
        visit.task.lost_on = visit.slot.node
        self._resting[visit.slot.node] = self._pace.clock() + REST_SECONDS
        self._leave(number, reason)

    def _leave(self, number: int, ending: str) -> None:
        """End a worker; its block goes on with another one unless it is done."""
        task = self._visits[number].task
        self._end(number)
        if self._records.leave(task.block, ending):
            self._waiting.append(task)
            return
        if task.begun is not None:
            self._pace.note(self._pace.clock() - task.begun)
        self.finished += 1

    def _end(self, number: int) -> None:
        """End a worker; keep what there is of the cases that it had begun."""
        visit = self._visits.pop(number)
        self._records.at_once = max(len(self._visits), 1)
        self._records.salvage(visit.assembly, visit.job)
        self._cluster.end(number)

    def _look_for_the_silent(self) -> None:
        now = self._pace.clock()
        for number, visit in list(self._visits.items()):
            patience = visit.job.protocol.timeout_seconds
            if not visit.ready:
                patience = max(patience, STARTUP_SECONDS)
            if visit.started and now - visit.heard > patience + SILENCE_SECONDS:
                self._lose(number, f"nothing was heard for {now - visit.heard:.0f} s")
