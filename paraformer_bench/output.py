"""Standard output and error that outlast their reader: a pipe that closes, a lost terminal."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


class _Descriptor(io.FileIO):
    """A file descriptor that becomes the null device once nobody is left to read it.

    This is done below the layers for text, because what writes there (Rich, click) takes a closed
    pipe for a reason to exit with code 1.

    Args:
        number: The descriptor.
        last_resort: Any failure will do: there is no other place to tell of it.
    """

    def __init__(self, number: int, last_resort: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self._last_resort = last_resort
        gone = {errno.EPIPE, errno.ECONNRESET}
        # Of a terminal that has hung up; of a file it means a bad disk.
        self._gone = gone | {errno.EIO} if self.isatty() else gone

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in self._gone and not self._last_resort:
                raise
        self.silence()
        return memoryview(data).nbytes

    def silence(self) -> None:
        """Throw away all that is written from now on."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


@contextmanager
def outlasting_output() -> Iterator[None]:
    """Let whatever runs in here go on when nobody reads its output any more.

    Streams that somebody else has put in place of the process's own are left alone.
    """
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is getattr(sys, f"__{name}__"):
                stack.enter_context(_replaced(name))
        yield


@contextmanager
def _replaced(name: str) -> Iterator[None]:
    old = getattr(sys, name)
    if old is None:  # it was closed before Python started
        with open(os.devnull, "w", encoding="utf-8") as null:
            setattr(sys, name, null)
            try:
                yield
            finally:
                setattr(sys, name, old)
        return
    descriptor = _Descriptor(old.fileno(), last_resort=name == "stderr")
    buffered = isinstance(old.buffer, io.BufferedWriter)  # unless Python runs with -u
    new = io.TextIOWrapper(
        io.BufferedWriter(descriptor) if buffered else descriptor,
        old.encoding,
        old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
    setattr(sys, name, new)
    try:
        yield
    finally:
        setattr(sys, name, old)
        try:
            new.flush()
        except OSError:  # a full disk: see to it that Python does not try again as it exits
            descriptor.silence()
            new.flush()
