"""Measuring a block, or what is left of one."""

from __future__ import annotations

import gc
from contextlib import closing

from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.visit import Visit
from paraformer_bench.ranks.team import SpreadBuilder, Team
from paraformer_bench.study.events import Ready
from paraformer_bench.study.job import BlockJob
from paraformer_bench.workers.process import Reporter


def run(job: BlockJob, emit: Reporter, device: Device) -> bool:
    """Visit the cases of the job; False when the device broke and the rest needs a new worker."""
    with closing(Team(job, device.host, emit.last_words)) as team:
        visit = Visit(SpreadBuilder(device, job.block, team), job, emit)
        gc.freeze()  # what the sentinel case needed, too
        emit(Ready())
        return all(visit.group(group) for group in job.groups)
