from __future__ import annotations

import io
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console

from paraformer_bench.study.case import Case
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Efficiency, RunInfo, Shard, read_run
from paraformer_bench.sweep.plan import Plan, block_groups
from paraformer_bench.sweep.run import Outcome, run_sweep
from paraformer_bench.sweep.signals import signals_held
from paraformer_bench.sweep.store import Store

MINUTE = 60.0


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Sweep:
    """A sweep over simulated workers whose blocks take a minute each, or as told."""

    def __init__(self, folder: Path, simulated, study_of) -> None:
        self.folder = folder
        self.study_of = study_of
        self.clock = Clock()
        self.jobs: list[BlockJob] = []
        self.minutes = [1.0]
        self.faults: dict = {}
        self._simulated = simulated

    def launch(self, job: BlockJob):
        self.jobs.append(job)
        self.clock.now += MINUTE * self.minutes[min(job.block, len(self.minutes) - 1)]
        return self._simulated(job, self.faults)

    def __call__(self, plan: Plan, launch=None) -> Outcome:
        with self.store(plan) as store:
            return self.run(plan, store, self.clock(), launch)

    def store(self, plan: Plan) -> Store:
        if self.folder.exists():
            return Store.resume(self.folder, plan.all_cases)
        return Store.create(self.folder, RunInfo())

    def run(self, plan: Plan, store: Store, started: float, launch=None, **options) -> Outcome:
        study, console = self.study_of(plan), Console(file=io.StringIO())
        start = launch or self.launch
        return run_sweep(study, store, console, started, start=start, clock=self.clock, **options)

    @property
    def records(self) -> list[Record]:
        run = read_run(self.folder)
        assert run.warnings == []
        return run.records


@pytest.fixture
def sweep(tmp_path: Path, simulated, study_of) -> Sweep:
    return Sweep(tmp_path / "run", simulated, study_of)


@pytest.fixture
def cases(case_of) -> list[Case]:
    return [case_of(depth) for depth in (1, 2, 4)]


@pytest.fixture
def plan_of(cases: list[Case], case_of):
    def plan(blocks: int = 3, **fields) -> Plan:
        skipped = {case_of(1, runtime="graph"): "runtime graph needs cuda"}
        return Plan(cases, skipped, "cpu", Protocol(rounds=3), 5, ["/p.py"], blocks, **fields)

    return plan


def test_every_block_visits_every_case(sweep: Sweep, plan_of, cases) -> None:
    assert sweep(plan_of(3)) == Outcome(interrupted=False, broken=0, blocks=3)
    count = Counter((r.case.id, r.status) for r in sweep.records)
    assert set(count.values()) == {3}
    assert len(count) == 4
    assert [job.block for job in sweep.jobs] == [0, 1, 2]
    assert len({tuple(case.id for g in job.groups for case in g) for job in sweep.jobs}) > 1
    assert {(job.device, job.seed, tuple(job.plugins)) for job in sweep.jobs} == {
        ("cpu", 5, ("/p.py",))
    }


def test_skipped_cases_are_recorded_with_their_reason(sweep: Sweep, plan_of) -> None:
    sweep(plan_of(2))
    skipped = [r for r in sweep.records if r.status == "skipped"]
    assert [(r.block, r.reason, r.order) for r in skipped] == [
        (0, "runtime graph needs cuda", None),
        (1, "runtime graph needs cuda", None),
    ]


def test_nothing_to_measure_starts_no_worker(sweep: Sweep, plan_of) -> None:
    plan = plan_of(2)
    plan.cases.clear()
    assert sweep(plan) == Outcome(interrupted=False, broken=0, blocks=2)
    assert sweep.jobs == [] or all(not job.groups for job in sweep.jobs)
    assert [r.status for r in sweep.records] == ["skipped"] * 2


def test_broken_records_are_counted_over_all_sittings(sweep: Sweep, plan_of, cases) -> None:
    sweep.faults = {(cases[0].id, "prepare"): "fail", (cases[1].id, "prepare"): "die"}
    assert sweep(plan_of(2)).broken == 4
    sweep.faults = {}
    assert sweep(plan_of(3)).broken == 4


def test_finished_run_has_nothing_left(sweep: Sweep, plan_of) -> None:
    sweep(plan_of(2))
    before = sweep.records
    jobs = len(sweep.jobs)
    assert sweep(plan_of(2)) == Outcome(interrupted=False, broken=0, blocks=2)
    assert (sweep.records, len(sweep.jobs)) == (before, jobs)


def test_blocks_can_be_added(sweep: Sweep, plan_of) -> None:
    sweep(plan_of(2))
    before = sweep.records
    assert sweep(plan_of(5)).blocks == 5
    assert sweep.records[: len(before)] == before
    assert [job.block for job in sweep.jobs] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("budget", "blocks"), [(0.01, 1), (1, 1), (1.9, 1), (2, 2), (3.5, 3), (100, 6)]
)
def test_budget_holds_whole_blocks(sweep: Sweep, plan_of, budget: float, blocks: int) -> None:
    """Of a minute each: one is begun only if it should end in time; the first is always run."""
    assert sweep(plan_of(6, budget_seconds=budget * MINUTE)).blocks == blocks
    assert Counter(r.block for r in sweep.records) == dict.fromkeys(range(blocks), 4)


def test_budget_expects_the_longest_block_again(sweep: Sweep, plan_of) -> None:
    sweep.minutes = [1.0, 4.0, 1.0]
    assert sweep(plan_of(9, budget_seconds=8.9 * MINUTE)).blocks == 2
    sweep.folder = sweep.folder.with_name("longer")
    assert sweep(plan_of(9, budget_seconds=9 * MINUTE)).blocks == 3


def test_budget_counts_from_the_start_of_the_command(sweep: Sweep, plan_of) -> None:
    plan = plan_of(9, budget_seconds=3 * MINUTE)
    with sweep.store(plan) as store:
        started = sweep.clock() - 2 * MINUTE  # the survey, say
        assert sweep.run(plan, store, started).blocks == 1


def test_efficiency_adds_up_over_sittings(sweep: Sweep, plan_of) -> None:
    # A block: 3 preparations, 9 rounds, 3 looks at the sentinel.
    busy = 3 * 0.5 + 9 * 0.25 + 3 * 0.125
    sweep(plan_of(2))
    efficiency = read_run(sweep.folder).info.efficiency
    assert efficiency == Efficiency(120.0, 2 * busy, round(2 * busy / 120, 4))
    sweep(plan_of(3))
    efficiency = read_run(sweep.folder).info.efficiency
    assert efficiency == Efficiency(180.0, 3 * busy, round(3 * busy / 180, 4))


@pytest.mark.parametrize(("energy", "steps"), [(0.0, 4), (2.0, 5)])
def test_progress_knows_all_steps(
    sweep: Sweep, plan_of, monkeypatch: pytest.MonkeyPatch, energy: float, steps: int
) -> None:
    """Of three cases in two blocks: preparation, three rounds, and the energy window if any."""
    seen: list[Progress] = []

    class Progress:
        def __init__(self, console: Console, steps: int, deadline: float) -> None:
            self.foreseen, self.taken = steps, 0
            seen.append(self)

        def step(self, steps: int, what: str) -> None:
            self.taken += steps

        def __enter__(self) -> Progress:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("paraformer_bench.sweep.run.SweepProgress", Progress)
    plan = plan_of(2)
    sweep(replace(plan, protocol=structs.replace(plan.protocol, energy_seconds=energy)))
    [progress] = seen
    assert progress.foreseen == progress.taken == 2 * 3 * steps


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where these tests run in a shell's background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_sweep_politely(sweep: Sweep, plan_of, number: int) -> None:
    handler = signal.getsignal(signal.SIGTERM)

    def launch(job: BlockJob):
        if job.block == 1:
            signal.raise_signal(number)
        return sweep.launch(job)

    assert sweep(plan_of(3), launch) == Outcome(interrupted=True, broken=0, blocks=1)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert Counter(r.block for r in sweep.records if r.status == "ok") == {0: 3}
    assert sweep(plan_of(3)) == Outcome(interrupted=False, broken=0, blocks=3)
    assert len(sweep.records) == 3 * 4


@pytest.mark.usefixtures("ctrl_c")
def test_signal_that_was_held_ends_the_sweep_before_it_measures(sweep: Sweep, plan_of) -> None:
    plan = plan_of(3)
    with sweep.store(plan) as store, signals_held() as hold:
        signal.raise_signal(signal.SIGTERM)
        outcome = sweep.run(plan, store, sweep.clock(), interruptible=hold.released)
        assert outcome == Outcome(interrupted=True, broken=0, blocks=0)
        assert not sweep.jobs
        signal.raise_signal(signal.SIGTERM)  # and the page can be built before the next one
        assert hold.came


def test_block_begun_under_a_budget_is_finished_without_one(sweep: Sweep, plan_of) -> None:
    """It was begun beyond the suite's own number of blocks."""

    def launch(job: BlockJob):
        if job.block == 4:
            raise KeyboardInterrupt
        return sweep.launch(job)

    sweep(plan_of(9, budget_seconds=100 * MINUTE), launch)
    assert Counter(r.block for r in sweep.records) == {0: 4, 1: 4, 2: 4, 3: 4, 4: 1}
    assert sweep(plan_of(2)).blocks == 5
    assert Counter(r.block for r in sweep.records) == dict.fromkeys(range(5), 4)


@pytest.mark.parametrize("of", [1, 2, 3, 4, 8, 11])
def test_shards_do_the_plan_between_them(
    tmp_path: Path, simulated, study_of, plan_of, case_of, of: int
) -> None:
    """Of two groups of cases and four blocks: whole blocks, halves, and nothing at all."""
    wide = [case_of(depth, width=128, heads=2) for depth in (1, 2)]
    found = Counter[tuple[str, int]]()
    for number in range(1, of + 1):
        plan = plan_of(4, shard=Shard(number, of, 4))
        plan.cases.extend(case for case in wide if case not in plan.cases)
        sweep = Sweep(tmp_path / str(number), simulated, study_of)
        outcome = sweep(plan)
        assert not outcome.interrupted
        found.update(record.key for record in sweep.records)
        if of <= 4:  # blocks as a whole sweep visits them
            assert [job.groups for job in sweep.jobs] == [
                block_groups(plan.cases, job.block, plan.seed) for job in sweep.jobs
            ]
        if number > 8:
            assert (sweep.records, sweep.jobs) == ([], [])
    assert len(found) == 4 * 6
    assert set(found.values()) == {1}


def test_resumed_shard_with_more_blocks_takes_its_own(sweep: Sweep, plan_of) -> None:
    shard = Shard(2, 3, 5)
    assert sweep(plan_of(5, shard=shard)).blocks == 2
    assert sorted({r.block for r in sweep.records}) == [2, 3]
    before = sweep.records
    assert sweep(plan_of(12, shard=shard)).blocks == 4
    assert sweep.records[: len(before)] == before
    assert sorted({r.block for r in sweep.records}) == [2, 3, 8, 9]


def test_interrupted_shard_goes_on_with_its_share(sweep: Sweep, plan_of) -> None:
    def launch(job: BlockJob):
        if job.block == 3:
            raise KeyboardInterrupt
        return sweep.launch(job)

    plan = plan_of(5, shard=Shard(2, 3, 5))
    assert sweep(plan, launch) == Outcome(interrupted=True, broken=0, blocks=1)
    assert sweep(plan) == Outcome(interrupted=False, broken=0, blocks=2)
    assert Counter(r.block for r in sweep.records) == {2: 4, 3: 4}


def test_budget_of_a_shard_is_its_own(sweep: Sweep, plan_of) -> None:
    """Minutes of this job, filled with blocks of this shard."""
    plan = plan_of(100, shard=Shard(2, 3, None), budget_seconds=3 * MINUTE)
    assert sweep(plan).blocks == 3
    assert sorted({r.block for r in sweep.records}) == [2, 3, 8]
