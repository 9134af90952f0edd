"""The parent's one way to follow a child process: start it on a job, hear it out, end it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from typing import Any, Protocol

from paraformer_bench.study import child, events, wire
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import Done, Ended, Event, Refused
from paraformer_bench.study.job import Job

_ANSWER_SECONDS = 120.0
_EVENTS = wire.decoder(events.ANY)

STARTUP_SECONDS = 120.0
"""A worker must be ready within this time: importing torch on a slow disk takes long."""


class Worker(Protocol):
    """A process at its job, wherever it runs."""

    def next_event(self, seconds: float) -> Event | None:
        """Return the next event, or None when there will be no more.

        Raises:
            TimeoutError: None came within ``seconds``.
            wire.Malformed: Something came that is no event.
        """

    def close(self) -> str:
        """End the worker if it still runs; say in a line how it ended. May be called twice."""


Start = Callable[[Job], Worker]
"""Starts a process on a job, here or on a node of a cluster."""


def supervise(
    worker: Worker, startup_seconds: float, timeout_seconds: float
) -> Generator[Event, None, None]:
    """Yield what a worker says, and close it at the end.

    The last event is `Done`, or `Ended` if the worker said no such thing. Whoever may leave before
    that closes the iterator, and with it the worker.

    Args:
        worker: Has just been started.
        startup_seconds: Time until the first event, if it is longer than the other.
        timeout_seconds: Time from one event to the next.
    """
    patience = max(startup_seconds, timeout_seconds)
    try:
        while True:
            try:
                event = worker.next_event(patience)
            except TimeoutError:
                yield Ended(status="timeout", reason=f"no answer within {patience:g} s")
                return
            except wire.Malformed as error:
                yield Ended(status="error", reason=f"the worker does not make sense: {error}")
                return
            if event is None:
                yield Ended(status="error", reason=worker.close())
                return
            yield event
            if isinstance(event, Done):
                return
            patience = timeout_seconds
    finally:
        worker.close()


def ask(job: Job, start: Start, what: str) -> list[Event]:
    """Start a job, and return what is said of it but for `Done`.

    Args:
        job: What to ask.
        start: Starts it.
        what: What it does, for the message that it could not.

    Raises:
        UsageError: The process died or hung, or a plugin cannot be loaded.
    """
    *said, last = supervise(start(job), _ANSWER_SECONDS, _ANSWER_SECONDS)
    for event in said:
        if isinstance(event, Refused):
            raise UsageError(event.message)
    if isinstance(last, Ended):
        raise UsageError(f"cannot {what}: {last.reason}")
    return said


class LocalWorker:
    """A child process; this process sleeps in the kernel until the child has something to say.

    Args:
        job: Goes to the child as one line of JSON.
    """

    def __init__(self, job: Job) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            child.command("workers", str(job.__struct_config__.tag)),  # so that `ps` tells it
            env=child.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._buffer = b""
        self._at_end = False
        self._ending: str | None = None
        with contextlib.suppress(BrokenPipeError):  # it died at once: next_event will tell
            self._process.stdin.write(wire.encode(job) + b"\n")
            self._process.stdin.close()

    def next_event(self, seconds: float) -> Event | None:
        """Return the next event, or None when the child has closed its end.

        Raises:
            TimeoutError: None came within ``seconds``.
            wire.Malformed: Something came that is no event.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise TimeoutError
            data = os.read(self._pipe, 1 << 20)
            if not data:
                self._at_end = True
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: Event = _EVENTS.decode(line)
        return event

    def close(self) -> str:
        """End the child and everything it started; say in a line how it ended."""
        if self._ending is None:
            self._ending = self._end()
        return self._ending

    def _end(self) -> str:
        try:
            # A child that closed its pipe is about to end by itself: let it say how.
            code = self._process.wait(timeout=5 if self._at_end else 0)
        except subprocess.TimeoutExpired:
            code = None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        if self._process.stdout:
            self._process.stdout.close()
        with self._errors:
            last = _last_line(self._errors)
        return f"the worker {child.how_it_ended(code)}{f': {last}' if last else ''}"


def _last_line(file: Any) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4096))
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else ""
