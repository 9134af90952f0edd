"""Being a rank of a worker's cases on several devices; the worker itself is the first."""

from __future__ import annotations

import sys

from paraformer_bench.instrument.device import Device
from paraformer_bench.ranks.follower import Follower
from paraformer_bench.study.job import RankJob
from paraformer_bench.workers.process import Reporter


def run(job: RankJob, emit: Reporter, device: Device) -> None:
    """Follow the orders on stdin to their end; answers are `ranks.follower`'s, not events."""
    Follower(job, device, sys.stdin.buffer, emit).follow()
