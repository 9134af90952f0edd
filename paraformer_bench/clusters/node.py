"""What a node of a cluster does: one child process as it is started at home, and its events.

What a job names by its path travels with it: plugin files to the node, traces back.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from paraformer_bench.clusters.side_by_side import Started
from paraformer_bench.study import child, events, wire
from paraformer_bench.study import job as jobs
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import Event, Profiled, Refused
from paraformer_bench.study.job import BlockJob, Job, ProfileJob, SurveyJob
from paraformer_bench.workers.blocks import STARTUP_SECONDS
from paraformer_bench.workers.supervise import LocalWorker, Start, supervise

_LONG = 3600.0
"""For processes whose patience the command has."""

SAID = wire.decoder(events.ANY | Started)
"""Reads the events of a node."""

Letter = tuple[int, bytes, bytes]
"""Number of a worker, an event as JSON, and the trace that it speaks of."""

Files = Sequence[tuple[str, bytes]]
"""Names and contents."""


class NodeTask(Struct, frozen=True):
    """A job on its way to a node.

    Attributes:
        job: What the child is to do.
        plugins: Plugin files that it loads first.
        variables: Those of `child.VARIABLES` that are set where the command was given.
    """

    job: jobs.ANY
    plugins: list[tuple[str, bytes]]
    variables: dict[str, str]

    @classmethod
    def of(cls, job: Job, plugins: Files) -> NodeTask:
        """Return a job with plugin files and with the variables of this process."""
        variables = {name: os.environ[name] for name in child.VARIABLES if name in os.environ}
        return cls(job, list(plugins), variables)  # type: ignore[arg-type]


def read_plugins(paths: Iterable[Path]) -> Files:
    """Read plugin files, for nodes that do not have them.

    Raises:
        UsageError: One cannot be read.
    """
    try:
        return [(path.name, path.read_bytes()) for path in paths]
    except OSError as error:
        raise UsageError(f"cannot read plugin {error.filename}: {error.strerror}") from None


def run_task(task: NodeTask, start: Start = LocalWorker) -> Iterator[tuple[Event, bytes]]:
    """Run the child of a task, and yield `Started` and what it says.

    Yields:
        An event, and the trace that it speaks of, which leaves no copy behind; else no bytes.
    """
    yield Started(gpu=os.environ.get("CUDA_VISIBLE_DEVICES") or None), b""
    _take_over(task.variables)
    timeout = _LONG
    if isinstance(task.job, BlockJob):
        timeout = task.job.protocol.timeout_seconds
    elif isinstance(task.job, SurveyJob):
        timeout = STARTUP_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        plugins = _write_plugins(task.plugins, Path(folder, "plugins"))
        job = replace(task.job, plugins=[str(path) for path in plugins])
        if isinstance(job, ProfileJob):
            job = replace(job, folder=str(Path(folder, "traces")))
        with closing(supervise(start(job), STARTUP_SECONDS, timeout)) as said:
            for event in said:
                trace = b""
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


def _take_over(variables: Mapping[str, str]) -> None:
    """Make the variables that change times those of the command, in this process.

    What a cluster sets by itself, such as a number of threads, would make another instrument.
    """
    for name in child.VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(variables)


def _write_plugins(plugins: Files, folder: Path) -> list[Path]:
    """Write plugin files into folders of their own: their names may be the same."""
    paths = []
    for number, (name, data) in enumerate(plugins):
        path = folder / str(number) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


class Mailbox:
    """Events in the order they came. Its methods are called by one thread."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._arrived = asyncio.Event()

    async def put(self, worker: int, event: bytes, trace: bytes) -> None:
        """Leave an event."""
        self._letters.append((worker, event, trace))
        self._arrived.set()

    async def take(self, seconds: float) -> list[Letter]:
        """Return all events, waiting a while for the first; there may be none."""
        if not self._letters:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), seconds)
            except asyncio.TimeoutError:
                return []
        letters, self._letters = self._letters, []
        return letters
