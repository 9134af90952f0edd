"""The profiling process: takes the timelines of cases that have been timed before.

Run as ``python -m paraformer_bench.workers.profile``, set up as a worker is. The job is one line
of JSON on stdin (see `ProfileJob`); events are lines of JSON on stdout: ``ready``, then for every
case ``begin`` and ``profiled`` with a `Profile`, then ``done``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from paraformer_bench.instrument import precision
from paraformer_bench.instrument.bench import prepare, rebuild
from paraformer_bench.instrument.capture import annotate, capture, wake
from paraformer_bench.instrument.device import Device, at_work, describe
from paraformer_bench.instrument.memory import release
from paraformer_bench.instrument.sampler import warm_up
from paraformer_bench.instrument.training import get_ready, in_its_mode
from paraformer_bench.study.case import Case
from paraformer_bench.study.plugins import load_plugins
from paraformer_bench.study.profiling import Profile, ProfileJob
from paraformer_bench.workers.process import ParentGone, die_with_parent, take_stdout


@in_its_mode
def profile_case(case: Case, device: Device, job: ProfileJob) -> Profile:
    """Build a case, annotate its branches and take its timeline.

    Raises:
        Mismatch: It was to be checked, and computes something else than the plain loop.
        Unsupported: It cannot run here, or its trace is too large.
    """
    precision.check(case.dtype, device.torch_device)
    if job.check:
        prepare(case, device, 0, job.seconds, {})
        release(device.torch_device)
    get_ready(case, device.torch_device)
    bench = rebuild(case, device, 0, annotate)
    warm_up(bench.call, device.clock, job.seconds)
    folder = Path(job.folder) / case.id
    return capture(bench.call, device.clock, device.torch_device, folder, job.seconds)


def try_case(case: Case, device: Device, job: ProfileJob) -> Profile:
    """Take a timeline, or say why there is none."""
    try:
        return profile_case(case, device, job)
    except Exception as error:
        status, reason = describe(error)
        return Profile(reason=reason if status == "skipped" else f"{status}: {reason}")


def main() -> int:
    """Run the job on stdin.

    Returns:
        0 when it was done, 3 when the device broke and the rest needs a new process.
    """
    emit = take_stdout()
    die_with_parent()
    # Kineto talks on stderr, whose last line is what is told of a process that died.
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    job = ProfileJob.from_json(json.loads(sys.stdin.readline()))
    load_plugins(map(Path, job.plugins))
    try:
        with at_work(job.device) as device:
            wake(device.torch_device)
            emit({"event": "ready"})
            for case in job.cases:
                emit({"event": "begin", "case_id": case.id})
                profile = try_case(case, device, job)
                emit({"event": "profiled", "case_id": case.id, "profile": profile.to_json()})
                if not device.healthy():
                    return 3
                release(device.torch_device)
    except ParentGone:
        return 1
    emit({"event": "done"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
