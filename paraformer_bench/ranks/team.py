"""One net on several devices, as its rank 0 sees it: followers in processes of their own.

The worker is rank 0. Its followers (`ranks.follower`) are started with the first case that
needs them and stay for all others. They sleep until they read a line: ``build``, ``run``,
``peak``, ``communicate`` or ``drop`` with the number of a case. Tensors go through
`torch.distributed`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from paraformer_bench.instrument.host_load import Host
from paraformer_bench.study import child
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, RANKS
from paraformer_bench.workers.reporter import Reporter

if TYPE_CHECKING:
    from paraformer_bench.executions._ranks import Ranks
    from paraformer_bench.instrument.clock import Clock
    from paraformer_bench.ranks.part import Part
    from paraformer_bench.study.job import Job

_COMMUNICATIONS = 21
_PATIENCE = 5.0
"""Seconds for followers to end by themselves."""
_MOURNING = 2.0
"""Seconds for which a call that failed waits: if a rank has died, this process ends meanwhile."""


class Team:
    """The ranks of a worker. Nothing is started, and no group joined, before a case needs it.

    When a follower dies, whatever rank 0 waits for will never come, and it may not even notice:
    this process then ends too. Before, it reports the case that was under way as finished, with
    what the follower died of.

    Args:
        device: ``cpu``, or ``cuda:0`` for the GPUs from the first on.
        sizes: Numbers of ranks that cases will ask for.
        plugins: Paths of plugin files that followers load first.
        host: Told of every process that is part of the worker.
        reporter: Told what a follower died of.

    Attributes:
        broken: A call has failed half way, so the ranks no longer understand each other.
    """

    def __init__(
        self,
        device: str = "cpu",
        sizes: Sequence[int] = (),
        plugins: Sequence[str] = (),
        host: Host | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.broken = False
        self._device = device
        self._sizes = list(sizes)
        self._plugins = list(plugins)
        self._host = host
        self._reporter = reporter
        self._threads = torch.get_num_threads()
        self._followers: list[subprocess.Popen[bytes]] = []
        self._watchers: list[threading.Thread] = []
        self._ranks: dict[int, Ranks] = {}
        self._numbers: dict[Case, int] = {}
        self._unanswered: set[Case] = set()
        self._last_number = 0
        self._closing = False
        self._mourner = threading.Lock()

    @classmethod
    def of(cls, job: Job, host: Host, reporter: Reporter) -> Team:
        """The team for the cases of a job."""
        cases = [case for group in job.groups for case in group]
        sizes = sorted({case.devices for case in cases if needs_ranks(case)})
        return cls(job.device, sizes, job.plugins, host, reporter)

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def use_threads(self, case: Case) -> None:
        """Give this rank its share of the CPU's cores, or the whole of them back."""
        if self._device == "cpu":
            torch.set_num_threads(self.threads_of(case))

    def threads_of(self, case: Case) -> int:
        """Threads that each rank of a case computes with on a CPU."""
        return max(1, self._threads // case.devices) if needs_ranks(case) else self._threads

    def begin(self, case: Case, block: int) -> None:
        """Have the followers build their parts of a case, if it has any."""
        if not needs_ranks(case):
            return
        self.drop([case, *self._unanswered])  # whose answers must not be taken for this one's
        if not self._ranks:
            try:
                self._start()
            except Exception:
                self.broken = True  # some ranks may be waiting for others
                raise
        self._last_number += 1
        self._numbers[case] = self._last_number
        self._unanswered.add(case)
        task = {"number": self._last_number, "case": case.to_json(), "block": block}
        self._tell(case, "build", json.dumps(task))

    def ranks(self, case: Case) -> Ranks:
        """The ranks of a case that has begun."""
        return self._ranks[case.devices]

    def lead(self, case: Case, part: Part) -> Callable[[Tensor], Tensor]:
        """Return what calls a case on all ranks, once all have built it.

        Raises:
            Unsupported: A follower cannot run its part.
            MemoryError: A follower has too little memory.
            RuntimeError: Anything else went wrong in a follower.
        """
        self._answers(case)

        def led(x: Tensor) -> Tensor:
            output: Tensor = self._together(case, "run", lambda: part.run(x))
            return output

        return led

    def peaks(self, case: Case, call: Callable[[], object]) -> list[dict[str, int | None]]:
        """Have every follower watch its memory during ``call``.

        Returns:
            For each its ``peak_bytes``, ``reserved_bytes`` and ``parameter_bytes``.
        """
        self._tell(case, "peak", self._numbers[case])
        self._unanswered.add(case)
        call()
        return self._answers(case)

    def communication_seconds(self, case: Case, part: Part, clock: Clock) -> float:
        """Median wall time of all that the ranks of a case tell each other in one call."""

        def talk() -> None:
            self._together(case, "communicate", part.communicate)

        return median(clock.wall(talk) for _ in range(_COMMUNICATIONS))

    def drop(self, cases: Iterable[Case]) -> None:
        """Have the followers let go of cases, whether or not they hold them."""
        for case in cases:
            if case in self._numbers and not self.broken:
                if case in self._unanswered:
                    self._read(case)
                self._tell(case, "drop", self._numbers[case])
            self._numbers.pop(case, None)
            self._unanswered.discard(case)

    def close(self) -> None:
        """End the followers and leave the group; may be called twice."""
        self._closing = True
        for follower in self._followers:
            assert follower.stdin is not None
            assert follower.stdout is not None
            if self.broken:
                follower.kill()
            follower.stdin.close()  # at the end of its input a follower ends
        if self._followers and not self.broken:
            from paraformer_bench.ranks.process_group import leave

            leave()
        for follower in self._followers:
            try:
                follower.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                follower.kill()
                follower.wait()
            assert follower.stdout is not None
            follower.stdout.close()
        for watcher in self._watchers:
            watcher.join()
        self._watchers.clear()
        self._followers.clear()
        self._ranks.clear()

    def _start(self) -> None:
        from paraformer_bench.ranks.process_group import join, open_store

        store = open_store(max(self._sizes))
        for rank in range(1, max(self._sizes)):
            follower = subprocess.Popen(
                child.command("ranks.follower"),
                env=child.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            self._followers.append(follower)
            hello = {
                "rank": rank,
                "sizes": self._sizes,
                "port": store.port,
                "device": "cpu" if self._device == "cpu" else f"cuda:{rank}",
                "threads": self._threads,
                "plugins": self._plugins,
            }
            self._write(follower, json.dumps(hello))
            if self._host is not None:
                self._host.adopt(follower.pid)
            watcher = threading.Thread(
                target=self._watch, args=(rank, follower), name=f"rank {rank}", daemon=True
            )
            watcher.start()
            self._watchers.append(watcher)
        self._ranks = join(store, 0, self._sizes, torch.device(self._device))

    def _together(self, case: Case, word: str, own: Callable[[], Any]) -> Any:
        """Do what all ranks do at once; a failure half way is the end of the team."""
        try:
            self._tell(case, word, self._numbers[case])
            return own()
        except Exception:
            self._break()
            raise

    def _tell(self, case: Case, word: str, argument: object) -> None:
        for follower in self._followers[: case.devices - 1]:
            self._write(follower, f"{word} {argument}")

    def _write(self, follower: subprocess.Popen[bytes], line: str) -> None:
        assert follower.stdin is not None
        follower.stdin.write(line.encode() + b"\n")

    def _answers(self, case: Case) -> list[dict[str, Any]]:
        answers = self._read(case)
        for rank, answer in enumerate(answers, 1):
            if (status := answer["status"]) != "ok":
                kind = {"skipped": Unsupported, "oom": MemoryError}.get(status, RuntimeError)
                raise kind(f"rank {rank}: {answer['reason']}")
        return [answer["facts"] for answer in answers]

    def _read(self, case: Case) -> list[dict[str, Any]]:
        self._unanswered.discard(case)
        lines = []
        for follower in self._followers[: case.devices - 1]:
            assert follower.stdout is not None
            lines.append(follower.stdout.readline())
        if not all(lines):
            self._break()
            raise RuntimeError("a rank has ended")
        return [json.loads(line) for line in lines]

    def _break(self) -> None:
        self.broken = True
        time.sleep(_MOURNING)  # if a rank has died, `_watch` ends this process meanwhile

    def _watch(self, rank: int, follower: subprocess.Popen[bytes]) -> None:
        """Wait for a follower to end, in a thread; end this process if it was too early."""
        code = follower.wait()
        with self._mourner:  # the first to die is the one to name
            if self._closing:
                return
            try:
                self._report(rank, follower, code)
                for other in self._followers:
                    other.kill()
                    other.wait()
            finally:
                os._exit(1)

    def _report(self, rank: int, follower: subprocess.Popen[bytes], code: int) -> None:
        """Say what a follower died of, on stderr and to the case under way."""
        assert follower.stdout is not None
        status, reason = "error", _how_it_ended(code)
        *_, last = [b"", *follower.stdout.read().splitlines()]
        with contextlib.suppress(ValueError):  # it was killed, perhaps in the middle of an answer
            answer = {"status": status, "reason": reason} | json.loads(last)
            if answer["status"] != "ok":
                status, reason = answer["status"], answer["reason"]
        os.write(2, f"rank {rank}: {reason}\n".encode())
        if self._reporter is not None:
            self._reporter.last_words(status, f"rank {rank}: {reason}")


def needs_ranks(case: Case) -> bool:
    """Whether a case is run by several processes."""
    return case.devices > 1 and EXECUTIONS.get(case.execution).traits.spread == RANKS


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    named = -code in set(signal.Signals)
    return f"killed by {signal.Signals(-code).name if named else f'signal {-code}'}"
