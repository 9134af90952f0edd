"""Whatever happens to workers, every case of a block ends with exactly one record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Sampled
from paraformer_bench.study.job import BlockJob
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import JOURNAL, RECORDS, RunInfo, read_records
from paraformer_bench.sweep.blocks import (
    BlockRecords,
    OpenBlock,
    Pace,
    run_blocks,
)
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.supervise import STARTUP_SECONDS


@pytest.fixture
def cases(case_of) -> list[Case]:
    return [case_of(depth) for depth in (1, 2, 4, 8)]


class Bench:
    """A block runner over workers that play what a test hands in."""

    def __init__(self, folder: Path, launch: Callable[[BlockJob, int], object]) -> None:
        self.folder = folder
        self.workers: list = []
        self.jobs: list[BlockJob] = []
        self.steps: list[tuple[int, str]] = []
        self._launch = launch

    def start(self, job: BlockJob) -> object:
        self.jobs.append(job)
        worker = self._launch(job, len(self.workers))
        self.workers.append(worker)
        return worker

    def run(self, job: BlockJob) -> dict[str, Record]:
        with Store.create(self.folder, RunInfo()) as store:
            self.records = BlockRecords(store, lambda n, what: self.steps.append((n, what)))
            pace = Pace(math.inf, time.monotonic)
            assert len(list(run_blocks([OpenBlock(job)], self.start, self.records, pace))) == 1
        assert not (self.folder / JOURNAL).exists()
        assert all(worker.closed for worker in self.workers)
        records, warnings = read_records(self.folder / RECORDS)
        assert warnings == []
        found = {record.case.id: record for record in records}
        assert len(found) == len(records)
        assert set(found) == {case.id for group in job.groups for case in group}
        assert {record.block for record in records} == {job.block}
        # Whatever happened, the progress bar ends where it should.
        assert sum(n for n, _ in self.steps) == job.protocol.steps * len(records)
        return found


@pytest.fixture
def bench(tmp_path: Path, simulated):
    def make(faults=None, launch=None) -> Bench:
        return Bench(tmp_path / "run", launch or (lambda job, number: simulated(job, faults)))

    return make


def test_block_without_trouble(bench, job_of, cases) -> None:
    quiet = bench()
    found = quiet.run(job_of([cases[:2], cases[2:]], block=3))
    assert len(quiet.workers) == 1
    assert {r.status for r in found.values()} == {"ok"}
    assert {tuple(r.wall_seconds) for r in found.values()} == {(1.0, 1.5, 2.0, 2.5, 3.0, 3.5)}
    assert [found[case.id].order for case in cases] == [0, 1, 2, 3]
    assert sum(n for n, _ in quiet.steps) == 4 * 4
    # 4 preparations, 12 rounds, and 3 looks at the sentinel for each of 2 groups.
    assert quiet.records.busy_seconds == 4 * 0.5 + 12 * 0.25 + 6 * 0.125


def test_patience(bench, job_of, cases) -> None:
    """Loading torch may take long; after the first event the suite's own timeout counts."""
    quiet = bench()
    quiet.run(job_of([cases]))
    first, *others = quiet.workers[0].patience
    assert first == STARTUP_SECONDS
    assert set(others) == {7.0}


@pytest.mark.parametrize("stage", ["prepare", "sample"])
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("die", "error", "the worker was killed by SIGSEGV"),
        ("hang", "timeout", "no answer within 7 s"),
        ("fail", "error", "RuntimeError: fail"),
        ("poison", "error", "RuntimeError: poison"),
    ],
)
def test_one_bad_case(bench, job_of, cases, stage, fault, status, reason) -> None:
    bad = cases[1]
    trouble = bench({(bad.id, stage): fault})
    found = trouble.run(job_of([cases]))
    assert (found[bad.id].status, found[bad.id].reason) == (status, reason)
    others = [found[case.id] for case in cases if case != bad]
    assert {r.status for r in others} == {"ok"}
    assert len(trouble.workers) == (1 if fault == "fail" else 2)
    cut_short = [r for r in others if len(r.rounds) < 3]
    assert all("interrupted" in r.flags for r in cut_short)
    assert all("interrupted" not in r.flags for r in others if r not in cut_short)
    # The case before the bad one had its first round when a worker was lost in sampling.
    lost = stage == "sample" and fault != "fail"
    assert [r.case for r in cut_short] == (cases[:1] if lost else [])


@pytest.mark.parametrize(
    ("fault", "reason", "workers"),
    [
        ("die", "error: the worker was killed by SIGSEGV", 1),
        ("hang", "timeout: no answer within 7 s", 1),
        ("fail", "error: fail", 1),
        ("poison", "error: poison", 1),
    ],
)
def test_a_bad_energy_window_costs_energy_alone(
    bench, job_of, cases, fault, reason, workers
) -> None:
    """Every case keeps its samples and its flags; those after a lost worker have no energy."""
    bad = cases[1]
    trouble = bench({(bad.id, "energy"): fault})
    job = job_of([cases])
    job = replace(job, protocol=replace(job.protocol, energy_seconds=2.0))
    found = trouble.run(job)
    assert {(r.status, tuple(r.rounds), tuple(r.flags)) for r in found.values()} == {
        ("ok", (2, 2, 2), ())
    }
    assert found[bad.id].energy_joules is None
    assert found[bad.id].null_reasons["energy_joules"] == reason
    with_energy = [case for case in cases if found[case.id].energy_joules == 0.25]
    assert with_energy == (cases[:1] + cases[2:] if fault == "fail" else cases[:1])
    assert len(trouble.workers) == workers
    assert sum(n for n, _ in trouble.steps) == 5 * 4


def test_a_window_is_a_step(bench, job_of, cases) -> None:
    quiet = bench()
    job = job_of([cases[:1]])
    quiet.run(replace(job, protocol=replace(job.protocol, energy_seconds=2.0)))
    # Preparation, three rounds and the window; nothing is left when the record is there.
    assert quiet.steps == [(1, cases[0].id)] * 5 + [(0, cases[0].id)]


def test_a_sticky_error_in_a_window_brings_a_new_worker(bench, job_of, cases) -> None:
    trouble = bench({(cases[0].id, "energy"): "poison"})
    job = job_of([cases[:2], cases[2:]])
    job = replace(job, protocol=replace(job.protocol, energy_seconds=2.0))
    found = trouble.run(job)
    assert [found[case.id].energy_joules for case in cases] == [None, None, 0.25, 0.25]
    assert [job.groups for job in trouble.jobs] == [[cases[:2], cases[2:]], [cases[2:]]]
    assert sum(n for n, _ in trouble.steps) == 5 * 4


def test_next_worker_visits_what_is_left(bench, job_of, cases) -> None:
    trouble = bench({(cases[1].id, "prepare"): "die"})
    trouble.run(job_of([cases[:3], cases[3:]], first_order=0))
    first, second = trouble.jobs
    assert first.groups == [cases[:3], cases[3:]]
    # Case 0 was prepared but not sampled: it is visited again, beside the one of its group.
    assert second.groups == [[cases[0], cases[2]], cases[3:]]
    assert second.first_order == 1


def test_every_case_is_bad(bench, job_of, cases) -> None:
    trouble = bench({(case.id, "prepare"): "die" for case in cases})
    found = trouble.run(job_of([cases]))
    assert {r.status for r in found.values()} == {"error"}
    assert len(trouble.workers) == 4


class DeadWorker:
    """Ends, or hangs, before it has begun any case."""

    def __init__(self, hang: bool) -> None:
        self._hang = hang
        self.closed = 0

    def next_event(self, seconds: float) -> None:
        if self._hang:
            raise TimeoutError

    def close(self) -> str:
        self.closed += 1
        return "the worker exited with code 1: ImportError: libcudart"


@pytest.mark.parametrize(
    ("hang", "ending"),
    [
        (False, "the worker exited with code 1: ImportError: libcudart"),
        (True, "no answer within 120 s"),
    ],
)
def test_three_fruitless_workers_are_enough(bench, job_of, cases, hang, ending) -> None:
    trouble = bench(launch=lambda job, number: DeadWorker(hang))
    found = trouble.run(job_of([cases[:2], cases[2:]]))
    assert len(trouble.workers) == 3
    assert {(r.status, r.reason, r.order) for r in found.values()} == {
        ("error", f"3 workers in a row ended without a result: {ending}", None)
    }


def test_a_fruitful_worker_starts_the_count_again(bench, job_of, cases, simulated) -> None:
    """Two dead workers, one that loses a case and dies, two dead ones, then a good one."""

    def launch(job: BlockJob, number: int) -> object:
        if number in (0, 1, 3, 4):
            return DeadWorker(hang=False)
        return simulated(job, {(cases[0].id, "prepare"): "die"})

    trouble = bench(launch=launch)
    found = trouble.run(job_of([cases]))
    assert len(trouble.workers) == 6
    assert [found[case.id].status for case in cases] == ["error", "ok", "ok", "ok"]


def test_interrupt_keeps_what_was_sampled(tmp_path: Path, job_of, cases, simulated) -> None:
    class Interrupted(simulated):
        def next_event(self, seconds: float):
            event = super().next_event(seconds)
            if isinstance(event, Sampled) and event.case_id == cases[2].id:
                raise KeyboardInterrupt
            return event

    workers = []

    def launch(job: BlockJob) -> object:
        workers.append(Interrupted(job))
        return workers[-1]

    with Store.create(tmp_path / "run", RunInfo()) as store:
        records = BlockRecords(store, lambda n, what: None)
        pace = Pace(math.inf, time.monotonic)
        with pytest.raises(KeyboardInterrupt):
            list(run_blocks([OpenBlock(job_of([cases]))], launch, records, pace))
    assert [worker.closed for worker in workers] == [1]
    kept, _ = read_records(tmp_path / "run" / RECORDS)
    assert [r.case for r in kept] == cases[:2]
    assert all(r.flags == ["interrupted", "too_few_samples"] for r in kept)
    assert not (tmp_path / "run" / JOURNAL).exists()
