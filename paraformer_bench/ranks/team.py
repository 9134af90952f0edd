"""A case on several devices, as the worker sees it: it is rank 0 and leads followers.

Followers (`ranks.follower`) are processes of their own, started with the first case that needs
them; they stay for all others. They sleep until they read a line: ``build``, ``run``, ``peak``,
``communicate`` or ``drop`` with the number of a case. Tensors go through `torch.distributed`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.instrument.bench import Bench, Builder
from paraformer_bench.instrument.clock import Clock
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.gate import References
from paraformer_bench.instrument.meters import HostLoad
from paraformer_bench.ranks.follower import (
    Answer,
    Build,
    RankPart,
    load_modules,
    make_part,
    needs_ranks,
    threads_of,
)
from paraformer_bench.study import child, wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.job import BlockJob, RankJob
from paraformer_bench.study.record import Status
from paraformer_bench.study.registry import EXECUTIONS

if TYPE_CHECKING:
    from paraformer_bench.executions._ranks import Ranks

_T = TypeVar("_T")

_COMMUNICATIONS = 21
_PATIENCE = 5.0
"""Seconds for followers to end by themselves."""
_GRACE = 2.0
"""Seconds for which a call that failed waits: if a rank has died, this process ends meanwhile."""


class SpreadBuilder(Builder):
    """Builds cases of several devices too: on a team of ranks, or in threads of this process."""

    def __init__(self, device: Device, block: int, team: Team) -> None:
        super().__init__(device, block)
        self._team = team

    def prepare(self, case: Case, seconds: float, references: References) -> Bench:
        """Make a case ready for the first time, on all its devices.

        Its peaks are those of the rank that needs most. What each rank needs, and the time of what
        they tell each other in one call, stand in ``telemetry``.
        """
        self._begin(case)
        bench = super().prepare(case, seconds, references)
        if needs_ranks(case):
            self._look_at_ranks(case, bench)
        return bench

    def rebuild(self, case: Case) -> Bench:
        """Make a case ready that has been so before."""
        self._begin(case)
        return super().rebuild(case)

    def use(self, case: Case) -> None:
        """Make the settings that a case needs; on a CPU a rank has its share of the cores."""
        super().use(case)
        self._team.use_threads(case)

    def execute(self, case: Case, model: nn.Module, example: Tensor) -> Forward:
        """Put rank 0's net under its execution, on all devices of the case."""
        if case.devices == 1:
            return super().execute(case, model, example)
        if needs_ranks(case):
            return self._team.lead(case, model, example)
        kind = self.device.torch_device.type
        devices = [torch.device(kind, index) for index in range(case.devices)]
        run: Forward = EXECUTIONS.get(case.execution).factory(model, example, devices)
        return run

    def drop(self, cases: Iterable[Case]) -> None:
        """Give back the memory of cases, that of followers too."""
        self._team.drop(cases)
        super().drop(cases)

    def healthy(self) -> bool:
        """Whether device and team still answer."""
        return not self._team.broken and super().healthy()

    def _begin(self, case: Case) -> None:
        load_modules(case)
        if needs_ranks(case):
            self._team.begin(case, self.block)

    def _look_at_ranks(self, case: Case, bench: Bench) -> None:
        facts, team = bench.facts, self._team
        others = team.peaks(case, bench.call)
        peaks = [facts.peak_bytes, *(other.peak_bytes for other in others)]
        reserved = [facts.reserved_bytes, *(other.reserved_bytes for other in others)]
        parameters = [other.parameter_bytes for other in others]
        facts.telemetry["ranks"] = of_ranks = {
            "peak_bytes": peaks,
            "parameter_bytes": [team.parts[case].parameter_bytes, *parameters],
            "communication_seconds": team.communication_seconds(case, self.device.clock),
        }
        if self.device.torch_device.type == "cpu":
            of_ranks["threads_per_rank"] = torch.get_num_threads()
        facts.peak_bytes, facts.reserved_bytes = _most(peaks), _most(reserved)


class _Follower:
    """A follower's process and its pipes, and the thread that will ``watch`` it."""

    def __init__(self, job: RankJob, watch: Callable[[_Follower], None]) -> None:
        self.rank = job.rank
        self.process = subprocess.Popen(
            child.command("workers", "rank"),
            env=child.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.orders, self.answers = self.process.stdin, self.process.stdout
        self.watcher = threading.Thread(
            target=watch, args=(self,), name=f"rank {job.rank}", daemon=True
        )

    def tell(self, line: bytes) -> None:
        """Give an order."""
        self.orders.write(line + b"\n")


class Team:
    """The ranks of a worker. Nothing is started, and no group joined, before a case needs it.

    When a follower dies, whatever rank 0 waits for will never come, and it may not even notice:
    this process then ends too. Before, it reports the case that was under way as finished, with
    what the follower died of.

    Args:
        job: Its device is ``cpu``, or ``cuda:0`` for the GPUs from the first on.
        host: Told of every process that is part of the worker.
        report: Ends the case under way with a status and a reason; no event can follow.

    Attributes:
        broken: A call has failed half way, so the ranks no longer understand each other.
        parts: Rank 0's own of the cases that are led.
    """

    def __init__(
        self, job: BlockJob, host: HostLoad, report: Callable[[Status, str], None]
    ) -> None:
        self.broken = False
        self.parts: dict[Case, RankPart] = {}
        self._job = job
        self._sizes = sorted({case.devices for case in job.cases if needs_ranks(case)})
        self._host = host
        self._report = report
        self._threads = torch.get_num_threads()
        self._followers: list[_Follower] = []
        self._ranks: dict[int, Ranks] = {}
        self._numbers: dict[Case, int] = {}  # what followers call cases
        self._asked: set[Case] = set()  # about which answers were not read yet
        self._next_number = count()
        self._closing = False
        self._first_death = threading.Lock()

    def use_threads(self, case: Case) -> None:
        """Give this rank its share of the CPU's cores, or the whole of them back."""
        if self._job.device == "cpu":
            torch.set_num_threads(threads_of(case, self._threads))

    def begin(self, case: Case, block: int) -> None:
        """Have the followers build their parts of a case."""
        # The answers to others that were given up must not be taken for this one's.
        self.drop([case, *self._asked])
        if not self._ranks:
            try:
                self._start()
            except Exception:
                self.broken = True  # some ranks may be waiting for others
                raise
        self._numbers[case] = number = next(self._next_number)
        self._asked.add(case)
        self._tell(case, b"build " + wire.encode(Build(number, case, block)))

    def lead(self, case: Case, model: nn.Module, example: Tensor) -> Forward:
        """Build rank 0's part of a case that has begun; return what calls it on all ranks.

        Raises:
            Unsupported: A follower cannot run its part.
            MemoryError: A follower has too little memory.
            RuntimeError: Anything else went wrong in a follower.
        """
        part = make_part(case, model, example, self._ranks[case.devices])
        self._answers(case)
        self.parts[case] = part
        return lambda x: self._together(case, "run", lambda: part.run(x))

    def peaks(self, case: Case, call: Callable[[], object]) -> list[Answer]:
        """Have every follower watch its memory during ``call``; return what each saw."""
        self._order(case, "peak")
        self._asked.add(case)
        call()
        return self._answers(case)

    def communication_seconds(self, case: Case, clock: Clock) -> float:
        """Median wall time of all that the ranks of a case tell each other in one call."""
        part = self.parts[case]

        def communicate() -> None:
            self._together(case, "communicate", part.communicate)

        return median(clock.wall(communicate) for _ in range(_COMMUNICATIONS))

    def drop(self, cases: Iterable[Case]) -> None:
        """Have the followers let go of cases, whether or not they have built them."""
        for case in cases:
            if case in self._numbers and not self.broken:
                if case in self._asked:
                    self._read(case)
                self._order(case, "drop")
            self._asked.discard(case)
            self._numbers.pop(case, None)
            self.parts.pop(case, None)

    def close(self) -> None:
        """End the followers and leave the group; may be called twice."""
        self._closing = True
        for follower in self._followers:
            if self.broken:
                follower.process.kill()
            follower.orders.close()  # at the end of its input a follower ends
        if self._followers and not self.broken:
            torch.distributed.destroy_process_group()
        for follower in self._followers:
            try:
                follower.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                follower.process.kill()
                follower.process.wait()
            follower.answers.close()
            follower.watcher.join()
        self._followers.clear()
        self._ranks.clear()

    def _start(self) -> None:
        from paraformer_bench.ranks.process_group import join, open_store

        store = open_store(max(self._sizes))
        for rank in range(1, max(self._sizes)):
            job = RankJob(
                rank=rank,
                sizes=self._sizes,
                port=store.port,
                device="cpu" if self._job.device == "cpu" else f"cuda:{rank}",
                threads=self._threads,
                plugins=self._job.plugins,
            )
            follower = _Follower(job, self._watch)
            self._followers.append(follower)
            follower.watcher.start()
            follower.tell(wire.encode(job))
            self._host.adopt(follower.process.pid)
        self._ranks = join(store, 0, self._sizes, torch.device(self._job.device))

    def _together(self, case: Case, order: str, own: Callable[[], _T]) -> _T:
        """Do what all ranks do at once; a failure half way is the end of the team."""
        try:
            self._order(case, order)
            return own()
        except Exception:
            self._break()
            raise

    def _order(self, case: Case, order: str) -> None:
        self._tell(case, f"{order} {self._numbers[case]}".encode())

    def _tell(self, case: Case, line: bytes) -> None:
        for follower in self._followers[: case.devices - 1]:
            follower.tell(line)

    def _answers(self, case: Case) -> list[Answer]:
        answers = self._read(case)
        for rank, answer in enumerate(answers, 1):
            if answer.status != "ok":
                kinds = {"skipped": Unsupported, "oom": MemoryError}
                raise kinds.get(answer.status, RuntimeError)(f"rank {rank}: {answer.reason}")
        return answers

    def _read(self, case: Case) -> list[Answer]:
        self._asked.discard(case)
        lines = [follower.answers.readline() for follower in self._followers[: case.devices - 1]]
        try:
            return [wire.decode(line, Answer) for line in lines]
        except wire.Malformed:  # it has ended, or was refused before it could follow
            self._break()
            raise RuntimeError("a rank has ended") from None

    def _break(self) -> None:
        self.broken = True
        time.sleep(_GRACE)  # if a rank has died, `_watch` ends this process meanwhile

    def _watch(self, follower: _Follower) -> None:
        """Wait for a follower to end, in a thread; end this process if it was too early."""
        code = follower.process.wait()
        with self._first_death:  # the first to die is the one to name
            if self._closing:
                return
            try:
                self._tell_of_death(follower, code)
                for other in self._followers:
                    other.process.kill()
                    other.process.wait()
            finally:
                os._exit(1)

    def _tell_of_death(self, follower: _Follower, code: int) -> None:
        """Say what a follower died of, on stderr and to the case under way."""
        status: Status = "error"
        reason = f"rank {follower.rank} {child.how_it_ended(code)}"
        *_, last = [b"", *follower.answers.read().splitlines()]
        # It may have been killed in the middle of an answer.
        with contextlib.suppress(wire.Malformed):
            answer = wire.decode(last, Answer)
            if answer.status != "ok":
                status, reason = answer.status, f"rank {follower.rank}: {answer.reason}"
        os.write(2, f"{reason}\n".encode())
        self._report(status, reason)


def _most(sizes: Iterable[int | None]) -> int | None:
    return max((size for size in sizes if size is not None), default=None)
