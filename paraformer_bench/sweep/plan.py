"""What was asked for, what will be done about it, and which cases each block visits."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraformer_bench.clusters import shard as shards
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.case import Case
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RunInfo, Shard
from paraformer_bench.study.suite import Suite
from paraformer_bench.study.survey import Survey
from paraformer_bench.study.timelines import NONE, choose
from paraformer_bench.sweep.blocks import OpenBlock


@dataclass(frozen=True)
class Settings:
    """What the command line asked for; None or empty where it said nothing.

    Attributes:
        suite: Name or file of the suite.
        axes: Values that replace the suite's own, by axis.
        device: ``cpu`` or ``cuda:N``.
        plugins: Plugin files.
        blocks: Blocks, instead of the suite's own number.
        budget_seconds: Time after which no block is started.
        out: Run folder.
        resume: Go on with the run in ``out``, or with the newest unfinished one.
        profile: Cases to profile, one of `timelines.CHOICES`.
        shard: Number of the shard to do, and how many there are; None for the whole sweep.
        command: The command as typed, kept for the record.
        launcher: ``local`` or ``ray``; None for that of the resumed run, else ``local``.
        ray_address: The cluster; None for that of the resumed run, else one on this machine.
        ray_nodes: Text in the names of the hosts or devices to use.
    """

    suite: str | None = None
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    device: str | None = None
    plugins: tuple[Path, ...] = ()
    blocks: int | None = None
    budget_seconds: float | None = None
    out: Path | None = None
    resume: bool = False
    profile: str | None = None
    shard: tuple[int, int] | None = None
    command: tuple[str, ...] = ()
    launcher: str | None = None
    ray_address: str | None = None
    ray_nodes: str | None = None


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
        profile: Cases to profile after the last block, one of `timelines.CHOICES`.
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
    def all_cases(self) -> list[Case]:
        """Every case of the sweep, those that cannot run here too."""
        return [*self.cases, *self.skipped]

    @property
    def visited(self) -> list[Case]:
        """The cases that are measured here in any block."""
        if self.shard is None:
            return self.cases
        blocks = range(min(self.blocks, shards.cycle(self.shard)))
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
        curves = shards.timelines(self.shard, self.all_cases, self.cases)
        return [case for case in chosen if case.curve_id in curves]

    def left(self, done: Collection[tuple[str, int]]) -> Iterator[OpenBlock]:
        """Yield each block that still has something to do, those that were begun before included.

        Args:
            done: Case id and block of every record; it may grow meanwhile.
        """
        begun = max((block + 1 for _, block in done), default=0)
        for number in range(max(self.blocks, begun)):
            ids = {case_id for case_id, block in done if block == number}
            skipped = [
                Record(case=case, block=number, status="skipped", reason=self.skipped[case])
                for case in self.skipped_in(number)
                if case.id not in ids
            ]
            others = {case.id for case in self.cases}
            others -= {case.id for case in self.measured_in(number)}
            job = BlockJob(
                device=self.device,
                plugins=self.plugins,
                block=number,
                protocol=self.protocol,
                seed=self.seed,
                groups=block_groups(self.cases, number, self.seed),
                first_order=len(ids),
            ).without(ids | others)
            if job.groups or skipped:
                yield OpenBlock(job, skipped)

    def _share(self, cases: Iterable[Case], block: int) -> list[Case]:
        if self.shard is None:
            return list(cases)
        groups = shards.share(self.shard, self.all_cases, block)
        return [case for case in cases if case.group in groups]


@dataclass(frozen=True)
class Study:
    """A checked request: nothing is written yet.

    Attributes:
        suite: With all overrides applied.
        plan: What to do.
        survey: What is here.
        folder: Where the run will lie or lies.
        resumed: ``run.json`` of the run to go on with, or None.
        calibration: The last one of this device with this PyTorch, for a new run.
        ceilings: The last ones of this device with this PyTorch.
        warnings: What was wrong with what is kept of this machine, one line each.
        machine: Fingerprint of the kind of machine that all records come from; None where the
            run is bound to no other than this machine.
    """

    suite: Suite
    plan: Plan
    survey: Survey
    folder: Path
    resumed: RunInfo | None = None
    calibration: Calibration | None = None
    ceilings: Ceilings | None = None
    warnings: tuple[str, ...] = ()
    machine: str | None = None


def block_groups(cases: Sequence[Case], block: int, seed: int) -> list[list[Case]]:
    """Return the cases of one block in the order of their visit.

    Cases that will be compared with each other (same regime, any method and depth) form a
    group and are visited together; the order of groups, and of cases within each, is random and
    differs from block to block.
    """
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.group, []).append(case)
    order = list(groups.values())
    shuffle = random.Random(f"{seed}/{block}").shuffle
    shuffle(order)
    for group in order:
        shuffle(group)
    return order
