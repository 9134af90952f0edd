"""In which order blocks run, and how many of them fit into a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from paraformer_bench.study.job import Job
from paraformer_bench.sweep.block import BlockRecords, BlockRunner, Launch


class NoDevice(Exception):
    """Nothing is left to measure on; the run can be resumed when there is."""


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


class Schedule(Protocol):
    """Where and in which order blocks run."""

    @property
    def devices(self) -> int:
        """Devices that were measured on at once, at most."""

    def run(
        self,
        jobs: Iterable[Job],
        records: BlockRecords,
        pace: Pace,
        begin: Callable[[Job], None],
        note: Callable[[], None],
    ) -> None:
        """Run each job to its end, as far as ``pace`` allows.

        Args:
            jobs: One a block, those of resumed blocks without what is done.
            records: Receives what workers say.
            pace: Says whether one more block may be begun.
            begin: Told of each block before anything is recorded of it.
            note: Called after each block.

        Raises:
            NoDevice: There is no device any more on which blocks could run.
        """


@dataclass
class OneAfterAnother:
    """Blocks on one device.

    Attributes:
        launch: Starts a worker.
    """

    launch: Launch
    devices: int = 1

    def run(
        self,
        jobs: Iterable[Job],
        records: BlockRecords,
        pace: Pace,
        begin: Callable[[Job], None],
        note: Callable[[], None],
    ) -> None:
        """Run each job to its end, as far as ``pace`` allows; see `Schedule`."""
        runner = BlockRunner(self.launch, records)
        for job in jobs:
            if not pace.allows():
                return
            start = pace.clock()
            begin(job)
            runner.run(job)
            pace.note(pace.clock() - start)
            note()
