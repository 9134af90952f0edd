"""A whole sweep: from its plan to a finished run folder."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from rich.console import Console

from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.errors import NoDevice, UsageError
from paraformer_bench.study.machine_file import CEILINGS
from paraformer_bench.study.record import BROKEN, FLAGS
from paraformer_bench.study.run_folder import RECORDS, Efficiency, read_records
from paraformer_bench.study.timelines import MOST_BYTES
from paraformer_bench.sweep.blocks import BlockRecords, OpenBlock, Pace, run_blocks
from paraformer_bench.sweep.plan import Plan, Study
from paraformer_bench.sweep.progress import SweepProgress
from paraformer_bench.sweep.signals import Interruptible, interruptible
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.timelines import (
    Allowance,
    expected_seconds,
    has_trace,
    job_left,
    keep,
    take_timelines,
)
from paraformer_bench.workers.ask import measure_ceilings
from paraformer_bench.workers.supervise import LocalWorker, Start

if TYPE_CHECKING:
    from paraformer_bench.clusters.ray import RayCluster


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
    study: Study,
    store: Store,
    console: Console,
    started: float,
    *,
    start: Start = LocalWorker,
    cluster: RayCluster | None = None,
    clock: Callable[[], float] = time.monotonic,
    interruptible: Interruptible = interruptible,
) -> Outcome:
    """Run every block that has cases without a record, and keep ``run.json`` up to date.

    The ceilings are measured first if need be, and timelines are taken last, when nothing is timed
    any more.

    With a budget, a block is started only while the time spent and the longest block so far
    fit into it; the first block always runs. A block that was begun before is always finished.
    Timelines get what they need of the budget, but a fifth at most, and what is left over.

    Args:
        study: What to do.
        store: The open run folder.
        console: Where progress is shown.
        started: When the command began, on ``clock``; budget and efficiency count from there.
        start: Starts a process here.
        cluster: Where to measure instead.
        clock: Seconds on a monotonic clock.
        interruptible: Where signals end the sweep.
    """
    plan = study.plan
    start = cluster.start_alone if cluster else start
    deadline = started + (math.inf if plan.budget_seconds is None else plan.budget_seconds)
    before = store.info.efficiency or Efficiency(0.0, 0.0)
    records = BlockRecords(store)

    def note_efficiency() -> None:
        store.update(efficiency=_sum(before, records, clock() - started))

    interrupted = False
    try:
        with interruptible():
            note_ceilings(study, store, console, start)
            to_profile = sum(not has_trace(store, case) for case in plan.to_profile(plan.visited))
            reserve = min(expected_seconds(to_profile), (deadline - started) / 5)
            with SweepProgress(console, _steps(plan, store) + to_profile, deadline) as progress:
                records.on_step = progress.step
                left, pace = plan.left(store.done), Pace(deadline - reserve, clock)
                with closing(_blocks(left, records, pace, start, cluster)) as ended:
                    for _ in ended:
                        note_efficiency()
                room = MOST_BYTES // (plan.shard.of if plan.shard else 1)
                allowance = Allowance(plan.protocol.timeout_seconds, deadline, room, clock)
                job = job_left(plan, store)
                with closing(take_timelines(job, start, allowance)) as taken:
                    for case, profile in taken:
                        keep(store, case, profile)
                        progress.step(1, case.id)
    except KeyboardInterrupt:
        interrupted = True
    except NoDevice as error:
        console.print(f"stopped: {error}")
        interrupted = True
    note_efficiency()
    kept, _ = read_records(store.folder / RECORDS)
    complete = Counter(block for _, block in store.done)
    return Outcome(
        interrupted,
        broken=sum(record.status in BROKEN for record in kept),
        blocks=sum(
            number == len(plan.measured_in(block)) + len(plan.skipped_in(block))
            for block, number in complete.items()
        ),
    )


def ceilings_needed(study: Study) -> bool:
    """Whether a sweep has to measure the ceilings before its first block."""
    if not study.plan.visited or (study.resumed and study.resumed.ceilings):
        return False
    kept = study.ceilings
    return kept is None or not kept.fresh(_dtypes(study), datetime.now(timezone.utc))


def note_ceilings(study: Study, store: Store, console: Console, start: Start) -> None:
    """See to it that the run knows the ceilings of its device; a sweep goes on without them.

    Ceilings that are kept are taken if they are fresh and have every precision of the sweep.
    """
    kept, device = study.ceilings, study.plan.device
    nothing_left = not any(block.job.groups for block in study.plan.left(store.done))
    if not ceilings_needed(study) or nothing_left:
        if kept and not store.info.ceilings:
            store.update(ceilings=kept, ceilings_reason=None)
        return
    console.print(f"measuring the ceilings of {device}: a few seconds, once a week")
    # What was measured of other precisions would be lost with the entry that is replaced.
    dtypes = sorted({*_dtypes(study), *(kept.dtypes if kept else ())})
    try:
        ceilings = measure_ceilings(study.survey, device, dtypes, start)
    except UsageError as error:
        console.print(f"warning: {error}")
        store.update(ceilings=None, ceilings_reason=str(error))
        return
    for warning in (*disturbances(ceilings), *CEILINGS.keep(ceilings)):
        console.print(f"warning: {warning}")
    store.update(ceilings=ceilings, ceilings_reason=None)


def disturbances(ceilings: Ceilings) -> list[str]:
    """Say what disturbed the measurement of ceilings, if something did."""
    if not ceilings.flags:
        return []
    seen = "; ".join(FLAGS.get(flag, flag) for flag in ceilings.flags)
    return [f"the ceilings are not to be trusted and will be measured again next time: {seen}"]


def _dtypes(study: Study) -> set[str]:
    return {case.dtype for case in study.plan.cases}


def _blocks(
    left: Iterator[OpenBlock],
    records: BlockRecords,
    pace: Pace,
    start: Start,
    cluster: RayCluster | None,
) -> Generator[None, None, None]:
    """Run blocks here or on a cluster."""
    if cluster is None:
        return run_blocks(left, start, records, pace)
    from paraformer_bench.sweep.side_by_side import run_side_by_side

    return run_side_by_side(left, cluster, records, pace)


def _steps(plan: Plan, store: Store) -> int:
    """How many steps of cases there are left."""
    ids = {case.id for case in plan.cases}
    due = sum(len(plan.measured_in(block)) for block in range(plan.blocks))
    return (due - sum(case_id in ids for case_id, _ in store.done)) * plan.protocol.steps


def _sum(before: Efficiency, records: BlockRecords, wall: float) -> Efficiency:
    """Add the time of this command to that of earlier ones of the same run."""
    devices = before.device_seconds
    devices = (before.wall_seconds if devices is None else devices) + wall * records.devices
    wall += before.wall_seconds
    busy = before.busy_seconds + records.busy_seconds
    return Efficiency(
        wall_seconds=round(wall, 3),
        busy_seconds=round(busy, 3),
        share=round(busy / devices, 4) if devices else None,
        device_seconds=round(devices, 3) if devices > wall else None,  # several worked at once
    )
