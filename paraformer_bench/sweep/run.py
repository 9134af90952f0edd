"""A whole sweep: from its settings to a finished run folder."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console

from paraformer_bench.clusters.shard import Shard
from paraformer_bench.study.case import Case
from paraformer_bench.study.job import Job, Protocol
from paraformer_bench.study.profiling import MOST_BYTES, NONE, TRACES, ProfileJob, choose
from paraformer_bench.study.record import BROKEN, Record
from paraformer_bench.study.run_folder import RECORDS, read_records
from paraformer_bench.sweep.block import BlockRecords
from paraformer_bench.sweep.plan import block_groups, without
from paraformer_bench.sweep.profile import (
    LaunchProfiler,
    ProfilePass,
    expected_seconds,
    has_trace,
    keep_in,
    launch_profiler,
)
from paraformer_bench.sweep.progress import SweepProgress
from paraformer_bench.sweep.schedule import NoDevice, Pace, Schedule
from paraformer_bench.sweep.signals import Interruptible, interruptible
from paraformer_bench.sweep.store import Store


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Attributes:
        cases: Cases to measure, in a stable order.
        skipped: Cases that cannot run on the device, with the reason.
        device: ``cpu`` or ``cuda:N``.
        protocol: How to measure.
        seed: Seeds every random order.
        plugins: Plugin files that workers load.
        blocks: Blocks of the whole sweep, at most.
        budget_seconds: Time into which whole blocks must fit; None for no limit.
        profile: Cases to profile after the last block, one of `profiling.CHOICES`.
        shard: The part of the sweep that is done here; None for all of it.
    """

    cases: list[Case]
    skipped: dict[Case, str]
    device: str
    protocol: Protocol
    seed: int
    plugins: list[str]
    blocks: int
    budget_seconds: float | None = None
    profile: str = NONE
    shard: Shard | None = None

    @property
    def visited(self) -> list[Case]:
        """The cases that are measured here in any block."""
        if self.shard is None:
            return self.cases
        blocks = range(min(self.blocks, self.shard.cycle))
        groups = {case.group for block in blocks for case in self.measured_in(block)}
        return [case for case in self.cases if case.group in groups]

    def measured_in(self, block: int) -> list[Case]:
        """Return the cases to measure in a block, in the order of `cases`."""
        return self._share(self.cases, block)

    def skipped_in(self, block: int) -> list[Case]:
        """Return the cases to note as skipped in a block."""
        return self._share(self.skipped, block)

    def to_profile(self, timed: Iterable[Case]) -> list[Case]:
        """Return the cases among ``timed`` whose timelines are taken here."""
        chosen = choose(timed, self.profile)
        if self.shard is None or not chosen:
            return chosen
        curves = self.shard.timelines([*self.cases, *self.skipped], self.cases)
        return [case for case in chosen if case.curve_id in curves]

    def _share(self, cases: Iterable[Case], block: int) -> list[Case]:
        if self.shard is None:
            return list(cases)
        groups = self.shard.share([*self.cases, *self.skipped], block)
        return [case for case in cases if case.group in groups]


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        interrupted: It was stopped before its last block.
        broken: Records with a status that makes the exit code 3.
        blocks: Blocks that are complete, or of which a shard has done its part.
    """

    interrupted: bool
    broken: int
    blocks: int


def run_sweep(
    plan: Plan,
    store: Store,
    schedule: Schedule,
    console: Console,
    started: float,
    clock: Callable[[], float] = time.monotonic,
    launch_profiler: LaunchProfiler = launch_profiler,
    first: Callable[[], None] = lambda: None,
    interruptible: Interruptible = interruptible,
) -> Outcome:
    """Run every block that has cases without a record, and keep ``run.json`` up to date.

    Cases are profiled after the last block, when nothing is timed any more.

    With a budget, a block is started only while the time spent and the longest block so far
    fit into it; the first block always runs. A block that was begun before is always finished.
    Profiling gets what it needs of the budget, but a fifth at most, and what is left over.

    Args:
        plan: What to do.
        store: The open run folder.
        schedule: Runs the blocks.
        console: Where progress is shown.
        started: When the command began, on ``clock``; budget and efficiency count from there.
        clock: Seconds on a monotonic clock.
        launch_profiler: Starts a profiling process.
        first: Called before the first block; its time counts into the budget.
        interruptible: Where signals end the sweep.
    """
    before = store.info.get("efficiency") or {"wall_seconds": 0.0, "busy_seconds": 0.0}
    budget = math.inf if plan.budget_seconds is None else plan.budget_seconds
    ids = {case.id for case in plan.cases}
    due = sum(len(plan.measured_in(block)) for block in range(plan.blocks))
    left = due - sum(case_id in ids for case_id, _ in store.done)
    to_profile = sum(not has_trace(store, case) for case in plan.to_profile(plan.visited))
    reserve = min(expected_seconds(to_profile), budget / 5)
    steps = left * plan.protocol.steps + to_profile
    interrupted = False
    try:
        with interruptible():
            first()
    except KeyboardInterrupt:
        interrupted = True
    except NoDevice as error:
        console.print(f"stopped: {error}")
        interrupted = True
    progress = SweepProgress(console, steps, started + budget)
    records = BlockRecords(store, progress.step)
    pace = Pace(started + budget - reserve, clock)

    def begin(job: Job) -> None:
        store.append(_skipped(plan, job.block))

    def note() -> None:
        wall = clock() - started
        _note_efficiency(store, before, wall, records.busy_seconds, schedule.devices)

    try:
        with interruptible():
            if not interrupted:
                schedule.run(_jobs(plan, store), records, pace, begin, note)
            if not interrupted:
                ProfilePass(
                    launch_profiler,
                    keep_in(store, progress.step),
                    plan.protocol.timeout_seconds,
                    deadline=started + budget,
                    room=MOST_BYTES // (plan.shard.of if plan.shard else 1),
                    clock=clock,
                ).run(_profile_job(plan, store))
    except KeyboardInterrupt:
        interrupted = True
    except NoDevice as error:
        console.print(f"stopped: {error}")
        interrupted = True
    finally:
        progress.stop()
    note()
    known, _ = read_records(store.folder / RECORDS)
    broken = sum(record.status in BROKEN for record in known)
    return Outcome(interrupted, broken, _complete_blocks(plan, store))


def _jobs(plan: Plan, store: Store) -> Iterator[Job]:
    """One job a block that still has something to do, blocks that were begun before included."""
    begun = max((block + 1 for _, block in store.done), default=0)
    for block in range(max(plan.blocks, begun)):
        done = {case_id for case_id, b in store.done if b == block}
        mine = {case.id for case in plan.measured_in(block)}
        others = {case.id for case in plan.cases} - mine
        groups = without(block_groups(plan.cases, block, plan.seed), done | others)
        if groups or any(case.id not in done for case in plan.skipped_in(block)):
            yield Job(
                block, plan.device, plan.protocol, plan.seed, plan.plugins, groups, len(done)
            )


def _profile_job(plan: Plan, store: Store) -> ProfileJob:
    """What is still to be profiled of the cases that were timed."""
    records, _ = read_records(store.folder / RECORDS)
    timed = {record.case.id for record in records if record.status == "ok"}
    cases = plan.to_profile(case for case in plan.cases if case.id in timed)
    cases = [case for case in cases if not has_trace(store, case)]
    return ProfileJob(plan.device, cases, str(store.folder / TRACES), plan.plugins)


def _complete_blocks(plan: Plan, store: Store) -> int:
    records = Counter(block for _, block in store.done)
    return sum(
        count == len(plan.measured_in(block)) + len(plan.skipped_in(block))
        for block, count in records.items()
    )


def _skipped(plan: Plan, block: int) -> list[Record]:
    return [
        Record(case, block, None, "skipped", plan.skipped[case]) for case in plan.skipped_in(block)
    ]


def _note_efficiency(
    store: Store, before: dict[str, float], wall: float, busy: float, devices: int
) -> None:
    """Add this sitting's time to that of earlier ones of the same run."""
    held = before.get("device_seconds", before["wall_seconds"]) + wall * devices
    wall += before["wall_seconds"]
    busy += before["busy_seconds"]
    efficiency = {
        "wall_seconds": round(wall, 3),
        "busy_seconds": round(busy, 3),
        "share": round(busy / held, 4) if held else None,
    }
    if held > wall:  # several devices at once
        efficiency["device_seconds"] = round(held, 3)
    store.update(efficiency=efficiency)
