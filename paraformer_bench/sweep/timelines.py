"""Kernel timelines: the pass after timing, and the command `profile`, which takes a single one."""

from __future__ import annotations

import contextlib
import math
import shlex
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import Begin, Done, Ended, Profiled
from paraformer_bench.study.job import ProfileJob, Protocol
from paraformer_bench.study.run_folder import RECORDS, read_records
from paraformer_bench.study.suite import expand, parse_suite, skip_reason
from paraformer_bench.study.survey import choose_device
from paraformer_bench.study.timelines import MOST_BYTES, PARTIAL, TRACES, Profile
from paraformer_bench.sweep.plan import Plan
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.ask import take_survey
from paraformer_bench.workers.supervise import STARTUP_SECONDS, LocalWorker, Start, supervise

BROKEN_CASE = 3
"""Exit code of `profile` where there is no timeline."""

# A process's start and one case on small machines; what counts later is what was seen.
_START_SECONDS = 4.0
_CASE_SECONDS = 1.5


def expected_seconds(cases: int) -> float:
    """How long so many timelines take, before any was taken."""
    return _START_SECONDS + cases * _CASE_SECONDS if cases else 0.0


@dataclass
class Allowance:
    """What timelines may still take.

    Attributes:
        timeout_seconds: Time for one case, before its process is killed.
        deadline: No case is begun that would end later, on ``clock``.
        bytes: Room for traces.
        clock: Seconds on a monotonic clock.
    """

    timeout_seconds: float
    deadline: float = math.inf
    bytes: int = MOST_BYTES
    clock: Callable[[], float] = time.monotonic

    def refusal(self, seconds: float) -> str | None:
        """Say why a case that takes so long is not begun, or None."""
        if self.clock() + seconds > self.deadline:
            return "the time budget was spent"
        if self.bytes <= 0:
            return "the traces taken before fill the room for traces"
        return None


def take_timelines(
    job: ProfileJob, start: Start, allowance: Allowance
) -> Generator[tuple[Case, Profile], None, None]:
    """Profile cases one after the other in one process, and in another when it dies.

    Yields:
        What became of each case, as soon as it is known. One during which its process dies has no
        trace.
    """
    rest = list(job.cases)
    longest = _START_SECONDS + _CASE_SECONDS
    while rest:
        if reason := allowance.refusal(longest):
            yield from ((case, Profile(reason=reason)) for case in rest)
            return
        first, begun, longest = rest[0], False, 0.0
        worker = start(replace(job, cases=list(rest)))
        began = allowance.clock()
        try:
            with closing(supervise(worker, STARTUP_SECONDS, allowance.timeout_seconds)) as events:
                for event in events:
                    if isinstance(event, Begin):
                        begun = True
                    elif isinstance(event, Profiled):
                        begun = False
                        allowance.bytes -= event.profile.bytes
                        yield rest.pop(0), event.profile
                        longest = max(longest, allowance.clock() - began)
                        began = allowance.clock()
                        if not rest or allowance.refusal(longest):
                            break
                    elif isinstance(event, Done | Ended):
                        ending = event.reason if isinstance(event, Ended) else "it left cases out"
                        # The case under way pays; all of them do when the process got nowhere.
                        nowhere = not begun and rest[0] is first
                        for case in rest[: len(rest) if nowhere else int(begun)]:
                            yield case, Profile(reason=f"error: {ending}")
                            rest.remove(case)
        finally:  # on Ctrl-C too
            _tidy(Path(job.folder))


def job_left(plan: Plan, store: Store) -> ProfileJob:
    """Return what is still to be profiled of the cases that were timed."""
    records, _ = read_records(store.folder / RECORDS)
    timed = {record.case for record in records if record.status == "ok"}
    cases = [
        case
        for case in plan.to_profile(case for case in plan.cases if case in timed)
        if not has_trace(store, case)
    ]
    folder = str(store.folder / TRACES)
    return ProfileJob(device=plan.device, plugins=plan.plugins, cases=cases, folder=folder)


def keep(store: Store, case: Case, profile: Profile) -> None:
    """Keep in ``run.json`` what became of a case."""
    if profile.file is not None:
        profile = replace(profile, file=f"{TRACES}/{profile.file}")
    store.update(profiles=(store.info.profiles or {}) | {case.id: profile})


def has_trace(store: Store, case: Case) -> bool:
    """Whether the case needs no profiling any more."""
    profile = (store.info.profiles or {}).get(case.id)
    return bool(profile and profile.file and (store.folder / profile.file).exists())


def profile_one(
    axes: Mapping[str, Any], device: str | None, plugins: tuple[Path, ...], out: Path
) -> int:
    """Profile one case, print where its timeline lies and how to look at it.

    Args:
        axes: The case's fields but for its device: ``tokens`` stands for the image.
        device: ``cpu``, ``cuda:N`` or None.
        plugins: Plugin files.
        out: Receives a folder named by the case's id.

    Returns:
        The exit code: 0, or 3 when there is no timeline.

    Raises:
        UsageError: There is no such case, it cannot run on the device, or ``out`` cannot be
            written.
    """
    plugins = tuple(path.resolve() for path in plugins)
    survey = take_survey(plugins)
    kinds = {"model": "models", "execution": "executions", "runtime": "runtimes"}
    grid = {kinds.get(axis, axis): [value] for axis, value in axes.items()}
    suite = parse_suite({"grid": [grid]}, "profile")
    [case] = expand(suite, survey, choose_device(survey, device))
    if reason := skip_reason(case, survey):
        raise UsageError(reason)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}") from None
    job = ProfileJob(
        device=case.device,
        plugins=[str(path) for path in plugins],
        cases=[case],
        folder=str(out),
        check=True,
    )
    allowance = Allowance(Protocol().timeout_seconds)
    [(_, profile)] = take_timelines(job, LocalWorker, allowance)
    if profile.file is None:
        print(f"no timeline of {case.id}: {profile.reason}", file=sys.stderr)
        return BROKEN_CASE
    for line in _told(profile, out, case.device != "cpu"):
        print(line)
    return 0


def _told(profile: Profile, out: Path, on_gpu: bool) -> list[str]:
    """What was taken and how to look at it."""
    from paraformer_bench.timeline.metrics import examine
    from paraformer_bench.timeline.timeline import say

    under, free = profile.seconds_per_call_profiled, profile.seconds_per_call_unprofiled
    assert profile.file is not None
    assert under is not None
    assert free is not None
    path = out / profile.file
    timeline = examine(path, on_gpu).timeline
    number = timeline.kernels if timeline.on_gpu else timeline.operations
    what = (
        f"{number:,} {'kernels' if timeline.on_gpu else 'operations'} a call; " if number else ""
    )
    return [
        str(path),
        f"{what}{say(timeline)}",
        f"{profile.steps} calls; a call took {1e3 * under:.3f} ms under the profiler and "
        f"{1e3 * free:.3f} ms without it, neither of which is a result",
        "Perfetto: open https://ui.perfetto.dev and drop the file onto it",
        f"TensorBoard: pip install 'paraformer-bench[tensorboard]', then "
        f"tensorboard --logdir {shlex.quote(str(out))}",
    ]


def _tidy(folder: Path) -> None:
    """Remove what a process that was killed has left half written."""
    for path in folder.glob(f"*/{PARTIAL}"):
        path.unlink(missing_ok=True)
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # it holds traces
            path.rmdir()
