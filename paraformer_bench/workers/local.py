"""Workers as child processes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from typing import Any, Protocol

from paraformer_bench.study import child


class Message(Protocol):
    """What a child is asked to do."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""


class Worker(Protocol):
    """A worker at its job, wherever it runs."""

    def next_event(self, seconds: float) -> dict[str, Any] | None:
        """Return the next event, or None when there will be no more.

        Raises:
            TimeoutError: None came within ``seconds``.
        """

    def close(self) -> str:
        """End the worker if it still runs; say in a line how it ended. May be called twice."""


class LocalWorker:
    """A child process; this process sleeps in the kernel until the child has something to say.

    Args:
        job: Goes to the child as one line of JSON.
        module: The module of this package that the child runs.
    """

    def __init__(self, job: Message, module: str = "workers.block") -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            child.command(module),
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
            self._process.stdin.write(json.dumps(job.to_json()).encode() + b"\n")
            self._process.stdin.close()

    def next_event(self, seconds: float) -> dict[str, Any] | None:
        """Return the next event, or None when the child has closed its end.

        Raises:
            TimeoutError: None came within ``seconds``.
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
        event: dict[str, Any] = json.loads(line)
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
