"""From blocks to records: what workers say of a block is kept until each case has its record.

Where workers are started one after another stands here too; `clusters` starts several at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from msgspec.structs import replace

from paraformer_bench.study.events import (
    Ended,
    Energy,
    Event,
    Prepared,
    Sampled,
    Sentinel,
)
from paraformer_bench.study.job import BlockJob
from paraformer_bench.study.record import Record, Status
from paraformer_bench.sweep.assemble import Assembly
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.supervise import STARTUP_SECONDS, Start, supervise

MOST_FRUITLESS_WORKERS = 3
"""Workers of one block that may end in a row without a result."""

OnStep = Callable[[int, str], None]
"""Told how many more steps were taken, and what is under way."""


@dataclass
class Pace:
    """Lets a block begin only while it should end in time; until one has ended, all may.

    Attributes:
        deadline: When blocks must be done, on ``clock``; infinity without a budget.
        clock: Seconds on a monotonic clock.
        longest: Seconds that the longest block took so far.
    """

    deadline: float
    clock: Callable[[], float]
    longest: float = 0.0

    def allows(self) -> bool:
        """Whether one more block may be begun now."""
        return not self.longest or self.clock() + self.longest <= self.deadline

    def note(self, seconds: float) -> None:
        """Note how long a block took."""
        self.longest = max(self.longest, seconds)


@dataclass
class OpenBlock:
    """A block that is not done.

    Attributes:
        job: What is left of it.
        skipped: Records of its cases that cannot run here, to be kept when it begins.
        fruitless: Workers in a row that ended without a result.
    """

    job: BlockJob
    skipped: list[Record] = field(default_factory=list)
    fruitless: int = 0


@dataclass
class BlockRecords:
    """Turns what the workers of blocks say into records, as they say it.

    Attributes:
        store: Receives journal and records.
        on_step: Told of every step of a case.
        busy_seconds: Time spent in warm-up or timed calls so far.
        at_once: Blocks that are under way.
        devices: Devices that have worked at once, at most.
    """

    store: Store
    on_step: OnStep = lambda steps, what: None
    busy_seconds: float = 0.0
    at_once: int = 1
    devices: int = 1
    _taken: Counter[tuple[int, str]] = field(default_factory=Counter, init=False, repr=False)

    def begin(self, block: OpenBlock) -> None:
        """Note that a block is begun: from now on it will be brought to its end."""
        self.store.append(block.skipped)

    def take(self, event: Event, assembly: Assembly, job: BlockJob) -> None:
        """Take in one event of a worker at ``job``; how it ended is one of them."""
        if isinstance(event, Ended):
            self.fail(event.status, event.reason, assembly, job)
            return
        if isinstance(event, Prepared | Sampled | Sentinel):
            self.busy_seconds += event.busy_seconds
        self.store.journal(job.block, event)
        record = assembly.add(event)
        if record is not None:
            self._keep([record], job)
            if assembly.idle:
                self.store.clear_journal(job.block)
        elif isinstance(event, Prepared | Sampled | Energy):
            self._taken[job.block, event.case_id] += 1
            self._step(1, event.case_id)

    def fail(self, status: Status, reason: str, assembly: Assembly, job: BlockJob) -> None:
        """Close the case under way, if there is one, with ``status``."""
        record = assembly.fail_current(status, reason)
        if record is not None:
            self._keep([record], job)

    def salvage(self, assembly: Assembly, job: BlockJob) -> None:
        """Keep what there is of the cases that were begun: their worker is gone."""
        self._keep(assembly.salvage(), job)
        self.store.clear_journal(job.block)

    def leave(self, block: OpenBlock, ending: str) -> bool:
        """Note that a worker of a block is gone; return whether it needs another one.

        When several in a row came to nothing, every case that is left is recorded as an error.
        """
        job = block.job
        done = {case_id for case_id, number in self.store.done if number == job.block}
        block.job = replace(job.without(done), first_order=len(done))
        fruitful = len(block.job.cases) < len(job.cases)
        block.fruitless = 0 if fruitful else block.fruitless + 1
        if block.fruitless < MOST_FRUITLESS_WORKERS:
            return bool(block.job.groups)
        self.begin(block)  # perhaps none of its workers came that far
        reason = f"{MOST_FRUITLESS_WORKERS} workers in a row ended without a result: {ending}"
        failed = [
            Record(case=case, block=job.block, status="error", reason=reason)
            for case in block.job.cases
        ]
        self._keep(failed, job)
        return False

    def _keep(self, records: list[Record], job: BlockJob) -> None:
        self.store.append(records)
        for record in records:
            taken = self._taken.pop((job.block, record.case.id), 0)
            self._step(job.protocol.steps - taken, record.case.id)

    def _step(self, steps: int, case_id: str) -> None:
        at_once = f"{self.at_once} blocks at once, " if self.at_once > 1 else ""
        self.on_step(steps, f"{at_once}{case_id}")


def run_blocks(
    blocks: Iterable[OpenBlock], start: Start, records: BlockRecords, pace: Pace
) -> Generator[None, None, None]:
    """Run one block after another, each to its end, as far as ``pace`` allows.

    A case during which its worker dies or hangs gets a record that says so. Cases of the same
    group that have samples by then keep them (flag ``interrupted``); the others are visited again,
    by a new worker.

    Yields:
        After each block.
    """
    for block in blocks:
        if not pace.allows():
            return
        began = pace.clock()
        records.begin(block)
        more = bool(block.job.groups)
        while more:
            ending = _visit(block.job, start, records)
            more = records.leave(block, ending)
        pace.note(pace.clock() - began)
        yield


def _visit(job: BlockJob, start: Start, records: BlockRecords) -> str:
    """Let one worker go as far as it gets; return how it ended."""
    assembly = Assembly.of(job)
    ending = "the worker left out cases"
    with closing(supervise(start(job), STARTUP_SECONDS, job.protocol.timeout_seconds)) as events:
        try:
            for event in events:
                records.take(event, assembly, job)
                if isinstance(event, Ended):
                    ending = event.reason
        finally:  # on Ctrl-C too
            records.salvage(assembly, job)
    return ending
