"""Several blocks at once, each on a device of its own; what is lost is begun again elsewhere.

Knows nothing of Ray: a `Cluster` has slots, starts workers on them and says what they say. All of
it happens in one thread, so that the run folder has one writer and Ctrl-C ends all blocks alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from paraformer_bench.study.job import Job
from paraformer_bench.sweep.assemble import Assembly
from paraformer_bench.sweep.block import (
    MOST_FRUITLESS_WORKERS,
    STARTUP_SECONDS,
    BlockRecords,
)
from paraformer_bench.sweep.schedule import NoDevice, Pace

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

    def start(self, slot: Slot, job: Job) -> int:
        """Start a worker on a job when the device is free; return the number of the worker."""

    def wait(self, seconds: float) -> list[tuple[int, dict[str, Any]]]:
        """Return what workers said since the last time, waiting a while if they said nothing.

        Beside the events of a worker (see `workers.block`): ``started``; ``ended`` with
        ``status`` and ``reason`` if its process died or hung; ``lost`` with ``reason`` if the
        machine did, or whatever else is no fault of the case under way.
        """

    def end(self, worker: int) -> None:
        """End a worker if it still runs; nothing is heard of it any more."""


@dataclass
class _Block:
    """A block that is not done, and what has happened to its workers so far."""

    rest: Job
    begun: float | None = None
    fruitless: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    lost_on: str | None = None


@dataclass
class _Visit:
    """A worker and what is known of it."""

    block: _Block
    slot: Slot
    assembly: Assembly
    heard: float
    started: bool = False
    ready: bool = False


class Parallel:
    """Blocks side by side on the slots of a cluster; a `schedule.Schedule`.

    Args:
        cluster: Where they run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.devices = 1

    def run(
        self,
        jobs: Iterable[Job],
        records: BlockRecords,
        pace: Pace,
        begin: Callable[[Job], None],
        note: Callable[[], None],
    ) -> None:
        """Run each job to its end, as far as ``pace`` allows; see `Schedule`.

        A case during which its process dies or hangs gets a record that says so, as it does on
        one machine. If instead the worker is lost, the case is no more to blame than the machine:
        it is measured again, up to `MOST_LOSSES` times.
        """
        _Session(self, self._cluster, iter(jobs), records, pace, begin, note).run()


class _Session:
    """One call of `Parallel.run`."""

    def __init__(
        self,
        schedule: Parallel,
        cluster: Cluster,
        jobs: Iterator[Job],
        records: BlockRecords,
        pace: Pace,
        begin: Callable[[Job], None],
        note: Callable[[], None],
    ) -> None:
        self.visits: dict[int, _Visit] = {}
        self._schedule = schedule
        self._cluster = cluster
        self._jobs = jobs
        self._records = records
        self._pace = pace
        self._begin = begin
        self._note = note
        self._waiting: list[_Block] = []
        self._next: _Block | None = None
        self._resting: dict[str, float] = {}
        self._proven: set[Slot] = set()

    def run(self) -> None:
        clock = self._pace.clock
        idle_since: float | None = None
        try:
            while self._more():
                self._fill()
                if any(visit.started for visit in self.visits.values()):
                    idle_since = None
                elif idle_since is None:
                    idle_since = clock()
                elif clock() - idle_since > NO_DEVICE_SECONDS:
                    minutes = f"{NO_DEVICE_SECONDS / 60:.0f} minutes"
                    raise NoDevice(f"for {minutes} no device has been there and free")
                for number, event in self._cluster.wait(_TICK):
                    self._hear(number, event)
                self._look_for_the_silent()
        finally:  # on Ctrl-C too
            while self.visits:
                self._close(next(iter(self.visits)))

    def _more(self) -> bool:
        return bool(self.visits or self._waiting) or self._peek() is not None

    def _peek(self) -> _Block | None:
        """Return the next new block, if there is time for one; those without work pass by."""
        while self._next is None:
            if not self._pace.allows():
                return None
            job = next(self._jobs, None)
            if job is None:
                return None
            if job.groups:
                self._next = _Block(job)
            else:
                self._begin(job)
                self._note()
        return self._next if self._pace.allows() else None

    def _fill(self) -> None:
        """Put blocks on the devices that are free, those that were lost before first."""
        free = self._free()
        for block in list(self._waiting):
            if slot := self._slot_for(block, free):
                self._waiting.remove(block)
                free.remove(slot)
                self._start(block, slot)
        while free and (new := self._peek()) is not None:
            slot = min(free, key=self._load)
            self._next = None
            free.remove(slot)
            self._start(new, slot)
        self._take_over(free)

    def _free(self) -> list[Slot]:
        now = self._pace.clock()
        used = {visit.slot for visit in self.visits.values()}
        return [
            slot
            for slot in self._cluster.slots()
            if slot not in used and self._resting.get(slot.node, now) <= now
        ]

    def _slot_for(self, block: _Block, free: list[Slot]) -> Slot | None:
        """Return a free device on another node than the one that was lost, if there is any."""
        elsewhere = [slot for slot in free if slot.node != block.lost_on]
        if elsewhere:
            return min(elsewhere, key=self._load)
        working = {visit.slot.node for visit in self.visits.values() if visit.started}
        if working - {block.lost_on}:
            return None  # one of them will be free
        return min(free, key=self._load, default=None)

    def _load(self, slot: Slot) -> tuple[int, int]:
        """Nodes fill evenly: the devices of one share its host."""
        return sum(visit.slot.node == slot.node for visit in self.visits.values()), slot.number

    def _take_over(self, free: list[Slot]) -> None:
        """Give blocks that wait in a queue to devices that are free and known to work.

        One that was never begun is dropped instead when its time is up.
        """
        now = self._pace.clock()
        for number, visit in list(self.visits.items()):
            if visit.started or now - visit.heard < QUEUE_SECONDS:
                continue
            if visit.block.begun is None and not self._pace.allows():
                self._close(number)
                continue
            slot = next((slot for slot in free if slot in self._proven), None)
            if slot is not None:
                self._close(number)
                free.remove(slot)
                self._start(visit.block, slot)

    def _start(self, block: _Block, slot: Slot) -> None:
        number = self._cluster.start(slot, block.rest)
        now = self._pace.clock()
        self.visits[number] = _Visit(block, slot, Assembly.of(block.rest), now)
        self._records.at_once = len(self.visits)

    def _hear(self, number: int, event: dict[str, Any]) -> None:
        visit = self.visits.get(number)
        if visit is None:
            return
        block, kind = visit.block, event["event"]
        visit.heard = self._pace.clock()
        if kind == "started":
            visit.started = True
            self._proven.add(visit.slot)
            at_work = sum(v.started for v in self.visits.values())
            self._schedule.devices = max(self._schedule.devices, at_work)
            if block.begun is None:
                block.begun = visit.heard
                self._begin(block.rest)
        elif kind == "ended":
            self._records.fail(visit.assembly, event["status"], event["reason"], block.rest)
            self._leave(number, event["reason"])
        elif kind == "lost":
            self._lose(number, event["reason"])
        elif kind == "done":
            self._leave(number, "the worker left out cases")
        else:
            visit.ready = True
            self._records.take(event, visit.assembly, block.rest)

    def _lose(self, number: int, reason: str) -> None:
        """Measure again what the worker was at, unless that went wrong too often."""
        visit = self.visits[number]
        current = visit.assembly.current
        if current is not None:
            visit.block.losses[current] += 1
            if visit.block.losses[current] == MOST_LOSSES:
                reason = f"{MOST_LOSSES} workers were lost while it was under way: {reason}"
                self._records.fail(visit.assembly, "error", reason, visit.block.rest)
        visit.block.lost_on = visit.slot.node
        self._resting[visit.slot.node] = self._pace.clock() + REST_SECONDS
        self._leave(number, reason)

    def _leave(self, number: int, ending: str) -> None:
        """Close a visit; its block goes on with another worker unless it is done."""
        block = self.visits[number].block
        self._close(number)
        before = sum(map(len, block.rest.groups))
        block.rest = self._records.left_of(block.rest)
        left = sum(map(len, block.rest.groups))
        block.fruitless = 0 if left < before else block.fruitless + 1
        if left and block.fruitless == MOST_FRUITLESS_WORKERS:
            if block.begun is None:
                self._begin(block.rest)
            self._records.give_up(block.rest, ending)
            left = 0
        if left:
            self._waiting.append(block)
            return
        if block.begun is not None:
            self._pace.note(self._pace.clock() - block.begun)
        self._note()

    def _close(self, number: int) -> None:
        """End a worker; keep what there is of the cases it had begun."""
        visit = self.visits.pop(number)
        self._records.at_once = max(len(self.visits), 1)
        self._records.salvage(visit.assembly, visit.block.rest)
        self._cluster.end(number)

    def _look_for_the_silent(self) -> None:
        now = self._pace.clock()
        for number, visit in list(self.visits.items()):
            patience = visit.block.rest.protocol.timeout_seconds
            if not visit.ready:
                patience = max(patience, STARTUP_SECONDS)
            if visit.started and now - visit.heard > patience + SILENCE_SECONDS:
                self._lose(number, f"nothing was heard for {now - visit.heard:.0f} s")
