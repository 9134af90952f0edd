"""Asking a child process one thing: start it, gather what it says until it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paraformer_bench.study.errors import UsageError
from paraformer_bench.workers.local import LocalWorker, Message, Worker

_PATIENCE = 120.0


Start = Callable[[Message, str], Worker]
"""Starts a module of this package on a job, here or on another machine."""


def ask(job: Message, module: str, what: str, start: Start = LocalWorker) -> list[dict[str, Any]]:
    """Give a job to a module of this package, started as workers are, and return its events.

    Args:
        job: Goes to the child.
        module: Which one to run.
        what: What it does, for the message that it could not.
        start: Starts the process.

    Raises:
        UsageError: The process died or hung.
    """
    worker = start(job, module)
    try:
        events = gather(worker)
        if events is None:
            raise UsageError(f"cannot {what}: {worker.close()}")
    except TimeoutError:
        raise UsageError(f"cannot {what}: no answer in {_PATIENCE:.0f} s") from None
    finally:
        worker.close()
    return events


def gather(worker: Worker) -> list[dict[str, Any]] | None:
    """Return what a child said before it was done; None if it ended before."""
    events: list[dict[str, Any]] = []
    while (event := worker.next_event(_PATIENCE)) is not None:
        if event["event"] == "done":
            return events
        events.append(event)
    return None
