"""One block: workers visit its cases until each has a record, whatever happens to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from paraformer_bench.case import Case
from paraformer_bench.job import Job
from paraformer_bench.record import Record
from paraformer_bench.sweep.assemble import Assembly
from paraformer_bench.sweep.local import Worker
from paraformer_bench.sweep.plan import without
from paraformer_bench.sweep.store import Store

STARTUP_SECONDS = 120.0
"""A worker must be ready within this time: importing torch on a slow disk takes long."""

_MOST_FRUITLESS_WORKERS = 3

Launch = Callable[[Job], Worker]
OnStep = Callable[[int, str], None]


@dataclass
class BlockRunner:
    """Runs blocks and writes their records.

    Attributes:
        launch: Starts a worker on a job.
        store: Receives journal and records.
        on_step: Told of every step taken, with the id of the case under way.
        busy_seconds: Time spent in warm-up or timed calls so far.
    """

    launch: Launch
    store: Store
    on_step: OnStep
    busy_seconds: float = 0.0
    _taken: Counter[str] = field(default_factory=Counter, init=False, repr=False)

    def run(self, job: Job) -> None:
        """Visit every case of ``job``, starting a new worker whenever one is lost.

        A case during which its worker dies or times out gets a record that says so. Cases of
        the same group that have samples by then keep them (flag ``interrupted``); the others
        are visited again.
        """
        fruitless = 0
        rest = job
        self._taken.clear()
        while rest.groups:
            before = len(self.store.done)
            ending = self._visit(rest)
            done = {case_id for case_id, block in self.store.done if block == job.block}
            fruitless = 0 if len(self.store.done) > before else fruitless + 1
            rest = replace(rest, groups=without(rest.groups, done), first_order=len(done))
            if fruitless == _MOST_FRUITLESS_WORKERS:
                self._give_up(rest, ending)
                return

    def _visit(self, job: Job) -> str:
        """Let one worker go as far as it gets; return how it ended."""
        cases = [case for group in job.groups for case in group]
        assembly = Assembly(job.block, cases)
        with closing(self.launch(job)) as worker:
            try:
                return self._follow(worker, assembly, job)
            finally:  # on Ctrl-C too
                self._keep(assembly.salvage(), job)
                self.store.clear_journal()

    def _follow(self, worker: Worker, assembly: Assembly, job: Job) -> str:
        patience = max(STARTUP_SECONDS, job.protocol.timeout_seconds)
        while True:
            try:
                event = worker.next_event(patience)
            except TimeoutError:
                reason = f"no answer within {patience:g} s"
                self._fail(assembly, "timeout", reason, job)
                return reason
            if event is None:
                ending = worker.close()
                self._fail(assembly, "error", ending, job)
                return ending
            patience = job.protocol.timeout_seconds
            self.busy_seconds += event.get("busy_seconds", 0.0)
            self.store.journal(job.block, event)
            record = assembly.add(event)
            if record is not None:
                self._keep([record], job)
                if assembly.idle:
                    self.store.clear_journal()
            elif event["event"] in ("prepared", "sampled", "energy"):
                self._taken[event["case_id"]] += 1
                self.on_step(1, event["case_id"])
            if event["event"] == "done":
                return "done"

    def _fail(self, assembly: Assembly, status: str, reason: str, job: Job) -> None:
        record = assembly.fail_current(status, reason)
        if record is not None:
            self._keep([record], job)

    def _keep(self, records: list[Record], job: Job) -> None:
        self.store.append(records)
        for record in records:
            left = job.protocol.steps - self._taken[record.case.id]
            self.on_step(left, record.case.id)

    def _give_up(self, job: Job, ending: str) -> None:
        reason = f"{_MOST_FRUITLESS_WORKERS} workers in a row ended without a result: {ending}"
        self._keep([_failed(case, job.block, reason) for g in job.groups for case in g], job)


def _failed(case: Case, block: int, reason: str) -> Record:
    return Record(case, block, None, "error", reason)
