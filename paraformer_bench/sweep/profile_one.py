"""The command ``profile``: the kernel timeline of one case."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.job import Protocol
from paraformer_bench.study.profiling import Profile, ProfileJob
from paraformer_bench.study.suite import Grid, Suite, expand, skip_reason
from paraformer_bench.study.survey import choose_device, take_survey
from paraformer_bench.sweep.profile import ProfilePass, launch_profiler
from paraformer_bench.timeline.metrics import examine
from paraformer_bench.timeline.timeline import say

BROKEN_CASE = 3


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
    grid = Grid(
        models=(axes["model"],),
        executions=(axes["execution"],),
        runtimes=(axes["runtime"],),
        **{
            axis: (axes[axis],)
            for axis in ("depth", "width", "batch", "tokens", "dtype", "mode", "scope")
        },
    )
    [case] = expand(Suite("profile", (grid,)), survey, choose_device(survey, device))
    if reason := skip_reason(case, survey):
        raise UsageError(reason)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror}") from None
    job = ProfileJob(case.device, [case], str(out), [str(path) for path in plugins], check=True)
    profiles: dict[Case, Profile] = {}
    timeout = Protocol().timeout_seconds
    ProfilePass(launch_profiler, profiles.__setitem__, timeout).run(job)
    profile = profiles[case]
    if profile.file is None:
        print(f"no timeline of {case.id}: {profile.reason}", file=sys.stderr)
        return BROKEN_CASE
    for line in _told(profile, out, case.device != "cpu"):
        print(line)
    return 0


def _told(profile: Profile, out: Path, on_gpu: bool) -> list[str]:
    """What was taken and how to look at it."""
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
