"""What a node of a cluster does: one child process as it is started at home, and its events.

What a job names by its path travels with it: plugin files to the node, traces back.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from paraformer_bench.study import child, events, wire
from paraformer_bench.study import job as jobs
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import CaseEvent, Event, Profiled, Refused
from paraformer_bench.study.job import BlockJob, Job, ProfileJob, SurveyJob
from paraformer_bench.workers.supervise import STARTUP_SECONDS, LocalWorker, Start, supervise

_LONG = 3600.0
"""For processes whose patience the command has."""


class Started(Event, kw_only=True):
    """A worker that was queued has its device."""


class Lost(Event, kw_only=True):
    """The machine of a worker is gone, or whatever else is no fault of the case under way."""

    reason: str


SAID = wire.decoder(events.ANY | Started)
"""Reads the events of a node."""

Message = tuple[int, bytes, bytes]
"""Number of a worker, an event as JSON, and the trace that it speaks of."""


class NodeTask(Struct, frozen=True):
    """A job on its way to a node.

    Attributes:
        plugins: Names and contents of the plugin files that the child loads first.
        variables: Those of `child.VARIABLES` that are set where the command was given.
        place: Where it is done, as records say it.
    """

    job: jobs.ANY
    plugins: list[tuple[str, bytes]]
    variables: dict[str, str]
    place: dict[str, str]

    @classmethod
    def of(cls, job: Job, **place: str) -> NodeTask:
        """Return a job with its plugin files and with the variables of this process.

        Raises:
            UsageError: A plugin cannot be read.
        """
        try:
            plugins = [(Path(path).name, _contents(path)) for path in job.plugins]
        except OSError as error:
            raise UsageError(f"cannot read plugin {error.filename}: {error.strerror}") from None
        variables = {name: os.environ[name] for name in child.VARIABLES if name in os.environ}
        return cls(job, plugins, variables, place)  # type: ignore[arg-type]


@cache  # all blocks of a run load the same
def _contents(path: str) -> bytes:
    return Path(path).read_bytes()


def run_task(task: NodeTask, start: Start = LocalWorker) -> Iterator[tuple[Event, bytes]]:
    """Run the child of a task, and yield `Started` and what it says.

    Yields:
        An event, and the trace that it speaks of, which leaves no copy behind; else no bytes.
    """
    yield Started(), b""
    place = task.place
    if gpu := os.environ.get("CUDA_VISIBLE_DEVICES"):
        place = place | {"gpu": gpu}
    # What a cluster sets by itself, such as a number of threads, would make another instrument.
    for name in child.VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(task.variables)
    timeout = _LONG
    if isinstance(task.job, BlockJob):
        timeout = task.job.protocol.timeout_seconds
    elif isinstance(task.job, SurveyJob):
        timeout = STARTUP_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        plugins = []
        for number, (name, data) in enumerate(task.plugins):
            plugins.append(Path(folder, "plugins", str(number), name))  # names may be the same
            plugins[-1].parent.mkdir(parents=True)
            plugins[-1].write_bytes(data)
        job = replace(task.job, plugins=[str(path) for path in plugins])
        if isinstance(job, ProfileJob):
            job = replace(job, folder=str(Path(folder, "traces")))
        with closing(supervise(start(job), STARTUP_SECONDS, timeout)) as said:
            for event in said:
                trace = b""
                if isinstance(event, CaseEvent):
                    event.machine = place
                if isinstance(event, Refused):  # plugins as they are known where they come from
                    for path in plugins:
                        event.message = event.message.replace(str(path), path.name)
                elif isinstance(event, Profiled) and event.profile.file is not None:
                    file = Path(folder, "traces", event.profile.file)
                    trace = file.read_bytes()
                    file.unlink()
                yield event, trace


def run_on_node(number: int, data: bytes, mailbox: Any) -> None:
    """Run a task as a Ray task, and wait until each event has arrived."""
    import ray

    for event, trace in run_task(wire.decode(data, NodeTask)):
        ray.get(mailbox.put.remote(number, wire.encode(event), trace))


def survey_on_node(data: bytes) -> bytes:
    """Run a survey as a Ray task; return `Surveyed`, or `Refused` or `Ended` where it failed."""
    _, (answer, _), *_ = run_task(wire.decode(data, NodeTask))
    return wire.encode(answer)


class Mailbox:
    """Events in the order they came. Its methods are called by one thread."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._arrived = asyncio.Event()

    async def put(self, worker: int, event: bytes, trace: bytes) -> None:
        """Leave an event."""
        self._messages.append((worker, event, trace))
        self._arrived.set()

    async def take(self, seconds: float) -> list[Message]:
        """Return all events, waiting a while for the first; there may be none."""
        if not self._messages:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), seconds)
            except asyncio.TimeoutError:
                return []
        messages, self._messages = self._messages, []
        return messages
