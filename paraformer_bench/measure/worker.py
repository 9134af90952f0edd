"""The worker process: reads one job from stdin, visits its cases, writes events.

Run as ``python -m paraformer_bench.measure.worker``. The job is one line of JSON (see `Job`).
Events are lines of JSON on what was stdout when the process started; whatever models print goes
to stderr. The parent assembles records from the events (`sweep.assemble`), so that nothing
measured is lost when this process dies.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from paraformer_bench.job import Job
from paraformer_bench.measure.device import open_device
from paraformer_bench.measure.memory import refuse_the_impossible, steady_malloc
from paraformer_bench.measure.visit import Visit
from paraformer_bench.plugins import load_plugins


class _ParentGone(Exception):
    """Nobody reads the events any more."""


def main() -> int:
    """Run the job on stdin to its end.

    Returns:
        0 when every case was visited, 3 when the device broke and the rest needs a new worker.
    """
    emit = _take_stdout()
    _die_with_parent()
    job = Job.from_json(json.loads(sys.stdin.readline()))
    load_plugins(map(Path, job.plugins))
    if job.device == "cpu":
        steady_malloc()
        refuse_the_impossible()
    try:
        with torch.inference_mode():
            device = open_device(job.device)
            visit = Visit(device, job, emit)
            gc.freeze()  # what lives by now lives on: collections between cases stay short
            emit({"event": "ready"})
            for index, group in enumerate(job.groups):
                if not visit.group(index, group):
                    return 3
    except _ParentGone:
        return 1
    emit({"event": "done"})
    return 0


def _take_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep stdout for events alone and send everything else written there to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        data = memoryview(json.dumps(event).encode() + b"\n")
        try:
            while data:
                data = data[os.write(channel, data) :]
        except BrokenPipeError:
            raise _ParentGone from None

    return emit


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that a hung case cannot linger."""
    parent = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        set_parent_death_signal = 1
        prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
