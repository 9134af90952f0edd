"""What a node of a cluster does: one child process as it is started at home, and its events.

The child, its job and its events are those of one machine (`workers.local`). What a job names by
its path travels with it: plugin files to the node, traces back. Imports neither torch nor Ray.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paraformer_bench.study import child
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.survey import Survey, take_survey
from paraformer_bench.workers.local import LocalWorker, Message

Put = Callable[[dict[str, Any]], None]

Files = tuple[tuple[str, bytes], ...]
"""Names and contents."""


@dataclass(frozen=True)
class Errand:
    """A job on its way to a node.

    Attributes:
        module: The module of this package that the child runs.
        job: The job as JSON.
        plugins: Plugin files that it loads first.
        variables: Those of `child.VARIABLES` that are set where the command was given.
        startup_seconds: Time until the first event.
        timeout_seconds: Time from one event to the next.
    """

    module: str
    job: dict[str, Any]
    plugins: Files
    variables: dict[str, str]
    startup_seconds: float
    timeout_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the job, as the child gets it."""
        return self.job


def errand(
    module: str, message: Message, plugins: Files, startup_seconds: float, timeout_seconds: float
) -> Errand:
    """Pack a job, with the plugin files that it names and the variables of this process."""
    return Errand(
        module, message.to_json(), plugins, own_variables(), startup_seconds, timeout_seconds
    )


def own_variables() -> dict[str, str]:
    """Return the environment variables that nodes take over from this process."""
    return {name: os.environ[name] for name in child.VARIABLES if name in os.environ}


def read_plugins(paths: Iterable[Path]) -> Files:
    """Read plugin files, for nodes that do not have them.

    Raises:
        UsageError: One cannot be read.
    """
    try:
        return tuple((path.name, path.read_bytes()) for path in paths)
    except OSError as error:
        raise UsageError(f"cannot read plugin {error.filename}: {error.strerror}") from None


def survey_here(plugins: Files, variables: Mapping[str, str]) -> Survey | str:
    """Survey this node as a worker would find it.

    Returns:
        The survey, or in a line why there is none.
    """
    take_over(variables)
    with tempfile.TemporaryDirectory() as folder:
        paths = _write_plugins(plugins, Path(folder))
        try:
            return take_survey(paths)
        except UsageError as error:
            reason = str(error)
        for path in paths:  # as they are known where they come from
            reason = reason.replace(str(path), path.name)
        return reason


def run_here(errand: Errand, put: Put) -> None:
    """Run the child and hand over what it says: ``started``, its events, and how it ended.

    ``ended`` with ``status`` and ``reason`` is the last event unless ``done`` is.
    """
    put({"event": "started", "host": platform.node()} | _gpu())
    take_over(errand.variables)
    with tempfile.TemporaryDirectory() as folder:
        job = dict(errand.job)
        if "plugins" in job:
            paths = _write_plugins(errand.plugins, Path(folder, "plugins"))
            job["plugins"] = [str(path) for path in paths]
        if "folder" in job:
            job["folder"] = str(Path(folder, "traces"))
        with closing(LocalWorker(replace(errand, job=job), errand.module)) as worker:
            patience = errand.startup_seconds
            while True:
                try:
                    event = worker.next_event(patience)
                except TimeoutError:
                    reason = f"no answer within {patience:g} s"
                    return put({"event": "ended", "status": "timeout", "reason": reason})
                if event is None:
                    return put({"event": "ended", "status": "error", "reason": worker.close()})
                put(_with_trace(event, job.get("folder")))
                if event["event"] == "done":
                    return None
                patience = errand.timeout_seconds


def keep_trace(event: dict[str, Any], folder: Path) -> None:
    """Take the trace out of an event of `run_here` and write it where the job wanted it."""
    data = event.pop("trace", None)
    if data is not None:
        path = folder / event["profile"]["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def take_over(variables: Mapping[str, str]) -> None:
    """Make the variables that change times those of the command, in this process.

    What a cluster sets by itself, such as a number of threads, would make another instrument.
    """
    for name in child.VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(variables)


def _gpu() -> dict[str, str]:
    """Say which GPU this process may use, if it may use one."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"gpu": gpu} if gpu else {}


def _write_plugins(plugins: Files, folder: Path) -> list[Path]:
    """Write plugin files into folders of their own: their names may be the same."""
    paths = []
    for number, (name, data) in enumerate(plugins):
        path = folder / str(number) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


def _with_trace(event: dict[str, Any], folder: str | None) -> dict[str, Any]:
    """Add the trace that an event of the profiler speaks of; it leaves no copy behind."""
    file = event.get("profile", {}).get("file")
    if folder is None or file is None:
        return event
    path = Path(folder, file)
    data = path.read_bytes()
    path.unlink()
    return event | {"trace": data}
