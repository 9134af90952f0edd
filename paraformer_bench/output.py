"""Standard output and error that outlast their reader: a pipe that closes, a lost terminal."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout


class _Outlasting(io.TextIOWrapper):
    """A stream of text that goes to the null device once nobody is left to read it.

    Args:
        stream: Is written through.
        last_resort: Any failure will do: there is no other place to tell of it.
    """

    def __init__(self, stream: io.TextIOWrapper, last_resort: bool) -> None:
        super().__init__(
            stream.buffer,
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._last_resort = last_resort
        # EIO is of a terminal that has hung up; of a file it means a bad disk.
        self._gone = {errno.EPIPE, errno.ECONNRESET, *([errno.EIO] if self.isatty() else [])}

    def write(self, text: str) -> int:
        with self._outlasting():
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with self._outlasting():
            super().flush()

    def silence(self) -> None:
        """Throw away all that is written from now on, and what is not written yet."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)

    def let_go(self) -> None:
        """Write what is not written yet; what it was written through stays open."""
        try:
            self.flush()
        except OSError:  # a full disk: see to it that Python does not try again as it exits
            self.silence()
            self.flush()
        self.detach()

    @contextmanager
    def _outlasting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in self._gone and not self._last_resort:
                raise
            self.silence()


@contextmanager
def outlasting_output() -> Iterator[None]:
    """Let whatever runs in here go on when nobody reads its output any more.

    Streams that somebody else has put in place of the process's own are left alone.
    """
    with ExitStack() as stack:
        for name, redirect in (("stdout", redirect_stdout), ("stderr", redirect_stderr)):
            old = getattr(sys, name)
            if old is None:  # it was closed before Python started
                null = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect(null))
            elif old is getattr(sys, f"__{name}__"):
                new = _Outlasting(old, last_resort=name == "stderr")
                stack.callback(new.let_go)
                stack.enter_context(redirect(new))
        yield
