"""The worker process: reads one job from stdin, visits its cases, writes events.

Run as ``python -m paraformer_bench.workers.block``. The job is one line of JSON (see `Job`).
Events are lines of JSON on what was stdout when the process started; whatever models print goes
to stderr. The parent assembles records from the events (`sweep.assemble`), so that nothing
measured is lost when this process dies.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from paraformer_bench.instrument.device import at_work
from paraformer_bench.instrument.visit import Visit
from paraformer_bench.ranks.team import SpreadBuilder, Team
from paraformer_bench.study.job import Job
from paraformer_bench.study.plugins import load_plugins
from paraformer_bench.workers.process import ParentGone, die_with_parent, take_stdout
from paraformer_bench.workers.reporter import Reporter


def main() -> int:
    """Run the job on stdin to its end.

    Returns:
        0 when every case was visited, 3 when the device broke and the rest needs a new worker.
    """
    emit = Reporter(take_stdout())
    die_with_parent()
    job = Job.from_json(json.loads(sys.stdin.readline()))
    load_plugins(map(Path, job.plugins))
    try:
        with (
            at_work(job.device) as device,
            Team.of(job, device.host, emit.last_words) as team,
        ):
            visit = Visit(SpreadBuilder(device, job.block, team), job, emit)
            gc.freeze()  # what lives by now lives on: collections between cases stay short
            emit({"event": "ready"})
            for group in job.groups:
                if not visit.group(group):
                    return 3
            emit({"event": "done"})
    except ParentGone:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
