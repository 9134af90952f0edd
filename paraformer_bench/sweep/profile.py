"""The pass after timing: cases are profiled until each has a trace or a reason why not."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from paraformer_bench.study.case import Case
from paraformer_bench.study.profiling import MOST_BYTES, PARTIAL, TRACES, Profile, ProfileJob
from paraformer_bench.sweep.block import STARTUP_SECONDS
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.local import LocalWorker, Worker

LaunchProfiler = Callable[[ProfileJob], Worker]
Keep = Callable[[Case, Profile], None]

# A process's start and one case on small machines; what counts later is what was seen.
_START_SECONDS = 4.0
_CASE_SECONDS = 1.5


def launch_profiler(job: ProfileJob) -> Worker:
    """Start a profiling child process."""
    return LocalWorker(job, "workers.profile")


def expected_seconds(cases: int) -> float:
    """How long profiling so many cases takes, before any was."""
    return _START_SECONDS + cases * _CASE_SECONDS if cases else 0.0


@dataclass
class ProfilePass:
    """Profiles cases one after the other in one process, and in another when it dies.

    Attributes:
        launch: Starts a process on a job.
        keep: Receives what became of each case, as soon as it is known.
        timeout_seconds: Time one case may take before its process is killed.
        deadline: No case is begun that would end later, on ``clock``.
        room: Bytes that the traces may take.
        clock: Seconds on a monotonic clock.
    """

    launch: LaunchProfiler
    keep: Keep
    timeout_seconds: float
    deadline: float = math.inf
    room: int = MOST_BYTES
    clock: Callable[[], float] = time.monotonic

    def run(self, job: ProfileJob) -> None:
        """Profile every case of ``job``. A case during which the process dies has no trace."""
        rest = job.cases
        longest = _START_SECONDS + _CASE_SECONDS
        while rest:
            reason = self._refusal(longest)
            if reason is not None:
                self._keep_all(rest, reason)
                return
            try:
                rest, longest = self._visit(replace(job, cases=rest))
            finally:  # on Ctrl-C too
                _tidy(Path(job.folder))

    def _visit(self, job: ProfileJob) -> tuple[list[Case], float]:
        """Let one process go as far as it gets.

        Returns:
            The cases that are left, and the seconds that the longest one took.
        """
        rest = list(job.cases)
        begun = False
        longest = 0.0
        patience = max(STARTUP_SECONDS, self.timeout_seconds)
        with closing(self.launch(job)) as worker:
            start = self.clock()
            while rest:
                try:
                    event = worker.next_event(patience)
                    ending = None if event else worker.close()
                except TimeoutError:
                    event, ending = None, f"no answer within {patience:g} s"
                if event is None:
                    # The case under way pays; all of them do when the process got nowhere.
                    nowhere = not begun and len(rest) == len(job.cases)
                    lost = len(rest) if nowhere else int(begun)
                    self._keep_all(rest[:lost], f"error: {ending}")
                    return rest[lost:], longest
                patience = self.timeout_seconds
                if event["event"] == "begin":
                    begun = True
                elif event["event"] == "profiled":
                    begun = False
                    profile = Profile.from_json(event["profile"])
                    self.room -= profile.bytes
                    self.keep(rest.pop(0), profile)
                    longest = max(longest, self.clock() - start)
                    start = self.clock()
                    if rest and self._refusal(longest):
                        break
        return rest, longest

    def _refusal(self, seconds: float) -> str | None:
        """Say why a case that takes so long is not begun, or None."""
        if self.clock() + seconds > self.deadline:
            return "the time budget was spent"
        if self.room <= 0:
            return "the traces taken before fill the room for traces"
        return None

    def _keep_all(self, cases: list[Case], reason: str) -> None:
        for case in cases:
            self.keep(case, Profile(reason=reason))


def keep_in(store: Store, on_step: Callable[[int, str], None]) -> Keep:
    """Return what keeps profiles in ``run.json`` and tells of every step."""

    def keep(case: Case, profile: Profile) -> None:
        if profile.file is not None:
            profile = replace(profile, file=f"{TRACES}/{profile.file}")
        store.update(profiles=known_profiles(store) | {case.id: profile.to_json()})
        on_step(1, case.id)

    return keep


def known_profiles(store: Store) -> dict[str, dict[str, object]]:
    """What ``run.json`` says of profiles; a run begun by an older version says nothing."""
    return store.info.get("profiles") or {}


def has_trace(store: Store, case: Case) -> bool:
    """Whether the case needs no profiling any more."""
    file = known_profiles(store).get(case.id, {}).get("file")
    return file is not None and (store.folder / str(file)).exists()


def _tidy(folder: Path) -> None:
    """Remove what a process that was killed has left half written."""
    for path in folder.glob(f"*/{PARTIAL}"):
        path.unlink(missing_ok=True)
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # it holds traces
            path.rmdir()
