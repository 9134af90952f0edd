"""Every child process: reads one job from stdin, does it, and says what happens.

Run as ``python -m paraformer_bench.workers``. The job is one line of JSON (`study.job`). What
happens is told in lines of JSON (`study.events`) on what was stdout when the process started;
whatever models and plugins print goes to stderr. The last line of stderr says what the process
died of, if it died of an exception.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

from paraformer_bench.study import job, wire
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import Done, Refused
from paraformer_bench.study.plugins import load_plugins
from paraformer_bench.workers.process import ParentGone, Reporter, die_with_parent, take_stdout

JOBS: dict[type[job.Job], str] = {
    job.BlockJob: "block",
    job.ProfileJob: "profile",
    job.CeilingsJob: "ceilings",
    job.CalibrationJob: "calibrate",
    job.SurveyJob: "survey",
    job.RankJob: "rank",
}
"""The module of this package that does each kind of job, by its function ``run``."""

DEVICE_BROKE = 3
_LONGEST = 500


def main() -> int:
    """Do the job on stdin.

    Returns:
        0 when it was done to its end, 3 when the device broke and the rest needs a new process, 2
        when a plugin cannot be loaded, 1 for any other reason.
    """
    emit = Reporter(take_stdout())
    die_with_parent()
    # Kineto talks on stderr, whose last line is what is told of a process that died.
    os.environ.setdefault("KINETO_LOG_LEVEL", "5")
    try:
        return _do(wire.decoder(job.ANY).decode(sys.stdin.buffer.readline()), emit)
    except ParentGone:
        return 1
    except Exception as error:
        traceback.print_exc()
        words = "".join(traceback.format_exception_only(error)).split()
        print(" ".join(words)[:_LONGEST], file=sys.stderr)
        return 1


def _do(task: job.Job, emit: Reporter) -> int:
    try:
        load_plugins(map(Path, task.plugins))
    except UsageError as error:
        emit(Refused(message=str(error)))
        print(error, file=sys.stderr)
        return 2
    run = import_module(f"paraformer_bench.workers.{JOBS[type(task)]}").run
    if task.device:
        from paraformer_bench.instrument.device import at_work

        with at_work(task.device) as device:
            gc.freeze()  # what lives by now lives on: collections stay short
            whole = run(task, emit, device)
    else:
        whole = run(task, emit)
    if whole is False:
        return DEVICE_BROKE
    emit(Done())
    return 0


if __name__ == "__main__":
    sys.exit(main())
