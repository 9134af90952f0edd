"""What child processes are asked to do: one message to each, whose tag says which job it is."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from msgspec import Struct, field
from msgspec.structs import replace

from paraformer_bench.study.calibration import DELAYS
from paraformer_bench.study.case import Case

LEAST_ENERGY_SECONDS = 2.0
"""Shortest energy window: counters move every 20 to 100 ms, and an end can be off by as much."""


class Protocol(Struct, frozen=True):
    """How cases are measured.

    Attributes:
        blocks: Fresh worker processes that each visit every case.
        rounds: Times a block goes through the cases of a group.
        seconds_per_case: Time for the samples of one case in one block; a quarter more goes
            to its warm-up.
        target_relative_error: Relative half-width of the 95% interval at which sampling stops.
        timeout_seconds: Time one step of a case may take before its worker is killed.
        energy_seconds: Length of the window in which the energy of one case is read in one block,
            after its rounds; 0 for no window.
    """

    blocks: int = 8
    rounds: int = 3
    seconds_per_case: float = 1.0
    target_relative_error: float = 0.01
    timeout_seconds: float = 120.0
    energy_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Steps of one case in one block: its preparation, its rounds and its energy window."""
        return 1 + self.rounds + (self.energy_seconds > 0)


def _tag(name: str) -> str:
    return name.removesuffix("Job").lower()


class Job(Struct, frozen=True, tag_field="job", tag=_tag, kw_only=True):
    """Anything that a child process can be asked to do.

    Attributes:
        device: ``cpu`` or ``cuda:N``; empty where none is touched.
        plugins: Paths of plugin files to load first.
    """

    device: str = ""
    plugins: list[str] = field(default_factory=list)


class BlockJob(Job, frozen=True, kw_only=True):
    """Measure a block, or what is left of one.

    Attributes:
        block: Index of the block.
        protocol: How to measure.
        seed: Seeds the order of the rounds.
        groups: Cases in the order of their visit; those of one group are held side by side.
        first_order: Position in the block of the first case.
    """

    block: int
    protocol: Protocol
    seed: int
    groups: list[list[Case]]
    first_order: int = 0

    @property
    def cases(self) -> list[Case]:
        """All cases in the order of their visit."""
        return [case for group in self.groups for case in group]

    def without(self, done: Collection[str]) -> BlockJob:
        """Return the job less the cases whose ids are ``done``; empty groups vanish."""
        rest = ([case for case in group if case.id not in done] for group in self.groups)
        return replace(self, groups=[group for group in rest if group])


class ProfileJob(Job, frozen=True, kw_only=True):
    """Take timelines of cases that have been timed before.

    Attributes:
        cases: In the order of their turn.
        folder: Receives a folder for each case.
        check: Whether no case has passed the correctness gate yet, so that each must do so now.
        seconds: Time for the profiled calls of one case; there are a few at least.
    """

    cases: list[Case]
    folder: str
    check: bool = False
    seconds: float = 0.5


class CeilingsJob(Job, frozen=True, kw_only=True):
    """Measure the ceilings of a device.

    Attributes:
        dtypes: Precisions whose products to measure.
    """

    dtypes: tuple[str, ...]


class CalibrationJob(Job, frozen=True, kw_only=True):
    """Read known delays.

    Attributes:
        delays: Seconds of the delays to inject.
        seconds: Time for the samples of each delay.
        rounds: Times to go through the delays.
    """

    delays: tuple[float, ...] = DELAYS
    seconds: float = 1.0
    rounds: int = 3


class SurveyJob(Job, frozen=True, kw_only=True):
    """Say what is registered and what is here."""


class RankJob(Job, frozen=True, kw_only=True):
    """Be a rank of a worker's cases on several devices, other than the first.

    Attributes:
        rank: Which one.
        sizes: Numbers of ranks that cases will ask for.
        port: Where the ranks meet.
        threads: Threads of the worker.
    """

    rank: int
    sizes: list[int]
    port: int
    threads: int


ANY = BlockJob | ProfileJob | CeilingsJob | CalibrationJob | SurveyJob | RankJob
"""Every kind of job, as a child process expects them."""


def round_order(cases: Iterable[Case], seed: int, block: int, turn: int) -> list[Case]:
    """Return the order in which round ``turn`` of a block samples the cases of a group.

    Every round of every pair of blocks is shuffled anew; the second block of a pair goes through
    each round backwards. A drift linear in time then cancels between the two, whatever the
    median makes of the rounds of a block. Each case draws its own place, so that one that fails
    does not change the order of the others.
    """
    draw = {
        case: random.Random(f"{seed}/{block // 2}/{turn}/{case.id}").random() for case in cases
    }
    return sorted(draw, key=draw.__getitem__, reverse=block % 2 == 1)
