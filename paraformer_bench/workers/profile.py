"""Taking the timelines of cases that have been timed before."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.capture import annotate, capture, wake
from paraformer_bench.instrument.device import Device, describe
from paraformer_bench.instrument.memory import release
from paraformer_bench.instrument.sampler import warm_up
from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Begin, Profiled, Ready
from paraformer_bench.study.job import ProfileJob
from paraformer_bench.study.timelines import Profile
from paraformer_bench.workers.process import Reporter


class _AnnotatingBuilder(Builder):
    """Marks branches and layers, once the execution is there and before the runtime is."""

    def execute(self, case: Case, model: nn.Module, example: Tensor) -> Forward:
        """Put a net under its execution and mark its parts."""
        run = super().execute(case, model, example)
        annotate(model)
        return run


def profile_case(case: Case, device: Device, job: ProfileJob) -> Profile:
    """Build a case, annotate its branches and take its timeline.

    Raises:
        Mismatch: It was to be checked, and computes something else than the plain loop.
        Unsupported: It cannot run here, or its trace is too large.
    """
    if job.check:
        Builder(device, 0).prepare(case, job.seconds, {})
        release(device.torch_device)
    bench = _AnnotatingBuilder(device, 0).rebuild(case)
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


def run(job: ProfileJob, emit: Reporter, device: Device) -> bool:
    """Profile the cases of the job; False when the device broke and the rest needs another."""
    wake(device.torch_device)
    emit(Ready())
    for case in job.cases:
        emit(Begin(case_id=case.id, stage="profile"))
        emit(Profiled(case_id=case.id, profile=try_case(case, device, job)))
        if not device.healthy():
            return False
        release(device.torch_device)
    return True
