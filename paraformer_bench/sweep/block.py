"""One block: workers visit its cases until each has a record, whatever happens to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from paraformer_bench.study.case import Case
from paraformer_bench.study.job import Job
from paraformer_bench.study.record import Record
from paraformer_bench.sweep.assemble import Assembly, Event
from paraformer_bench.sweep.plan import without
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.local import Worker

STARTUP_SECONDS = 120.0
"""A worker must be ready within this time: importing torch on a slow disk takes long."""

MOST_FRUITLESS_WORKERS = 3
"""Workers of one block that may end in a row without a result."""

Launch = Callable[[Job], Worker]
OnStep = Callable[[int, str], None]


@dataclass
class BlockRecords:
    """Turns what the workers of blocks say into records, as they say it.

    Attributes:
        store: Receives journal and records.
        on_step: Told of every step taken, and what is under way: the id of the case.
        busy_seconds: Time spent in warm-up or timed calls so far.
        at_once: Blocks that are under way.
    """

    store: Store
    on_step: OnStep
    busy_seconds: float = 0.0
    at_once: int = 1
    _taken: Counter[tuple[int, str]] = field(default_factory=Counter, init=False, repr=False)

    def take(self, event: Event, assembly: Assembly, job: Job) -> None:
        """Take in one event of a worker at ``job``."""
        self.busy_seconds += event.get("busy_seconds", 0.0)
        self.store.journal(job.block, event)
        record = assembly.add(event)
        if record is not None:
            self._keep([record], job)
            if assembly.idle:
                self.store.clear_journal(job.block)
        elif event["event"] in ("prepared", "sampled", "energy"):
            self._taken[job.block, event["case_id"]] += 1
            self._step(1, event["case_id"])

    def fail(self, assembly: Assembly, status: str, reason: str, job: Job) -> None:
        """Close the case under way, if there is one, with ``status``."""
        record = assembly.fail_current(status, reason)
        if record is not None:
            self._keep([record], job)

    def salvage(self, assembly: Assembly, job: Job) -> None:
        """Keep what there is of the cases that were begun: their worker is gone."""
        self._keep(assembly.salvage(), job)
        self.store.clear_journal(job.block)

    def left_of(self, job: Job) -> Job:
        """Return ``job`` without the cases that have a record."""
        done = {case_id for case_id, block in self.store.done if block == job.block}
        return replace(job, groups=without(job.groups, done), first_order=len(done))

    def give_up(self, job: Job, ending: str) -> None:
        """Record every case of ``job`` as an error: its workers come to nothing."""
        reason = f"{MOST_FRUITLESS_WORKERS} workers in a row ended without a result: {ending}"
        self._keep([_failed(case, job.block, reason) for g in job.groups for case in g], job)

    def _keep(self, records: list[Record], job: Job) -> None:
        self.store.append(records)
        for record in records:
            taken = self._taken.pop((job.block, record.case.id), 0)
            self._step(job.protocol.steps - taken, record.case.id)

    def _step(self, steps: int, case_id: str) -> None:
        at_once = f"{self.at_once} blocks at once, " if self.at_once > 1 else ""
        self.on_step(steps, f"{at_once}{case_id}")


@dataclass
class BlockRunner:
    """Runs one block after another.

    Attributes:
        launch: Starts a worker on a job.
        records: Receives what the workers say.
    """

    launch: Launch
    records: BlockRecords

    def run(self, job: Job) -> None:
        """Visit every case of ``job``, starting a new worker whenever one is lost.

        A case during which its worker dies or times out gets a record that says so. Cases of
        the same group that have samples by then keep them (flag ``interrupted``); the others
        are visited again.
        """
        fruitless = 0
        rest = job
        done = self.records.store.done
        while rest.groups:
            before = len(done)
            ending = self._visit(rest)
            fruitless = 0 if len(done) > before else fruitless + 1
            rest = self.records.left_of(rest)
            if fruitless == MOST_FRUITLESS_WORKERS:
                self.records.give_up(rest, ending)
                return

    def _visit(self, job: Job) -> str:
        """Let one worker go as far as it gets; return how it ended."""
        assembly = Assembly.of(job)
        with closing(self.launch(job)) as worker:
            try:
                return self._follow(worker, assembly, job)
            finally:  # on Ctrl-C too
                self.records.salvage(assembly, job)

    def _follow(self, worker: Worker, assembly: Assembly, job: Job) -> str:
        patience = max(STARTUP_SECONDS, job.protocol.timeout_seconds)
        while True:
            try:
                event = worker.next_event(patience)
            except TimeoutError:
                reason = f"no answer within {patience:g} s"
                self.records.fail(assembly, "timeout", reason, job)
                return reason
            if event is None:
                ending = worker.close()
                self.records.fail(assembly, "error", ending, job)
                return ending
            patience = job.protocol.timeout_seconds
            self.records.take(event, assembly, job)
            if event["event"] == "done":
                return "done"


def _failed(case: Case, block: int, reason: str) -> Record:
    return Record(case, block, None, "error", reason)
