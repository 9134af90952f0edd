"""``python -m paraformer_bench``: run the command line and turn errors into exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import click

from paraformer_bench.cli import cli
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import REPORTS

DEFECT = 70
"""Of ``sysexits.h``: an error in the software itself."""

INTERRUPTED = 130

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 `compare` or `regressions` found something worse; 2 wrong usage; 3 done, but
        some case ended as error, timeout or mismatch; 70 an exception that nobody foresaw; 130
        interrupted. That nobody reads the output any more changes none of them.
    """
    with _outlasting_output():
        return _run(list(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name="python -m paraformer_bench", standalone_mode=False)
        print(end="", flush=True)  # a full disk is met here, not when Python exits
    except click.ClickException as error:
        return _refuse(error.format_message())
    except UsageError as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    # Python would exit with 1, which says that something is slower; so would click, which raises
    # SystemExit for a broken pipe, whoever's it is.
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and _is_the_users(error, arguments):
            return _refuse(str(error))
        traceback.print_exc()
        what = " ".join("".join(traceback.format_exception_only(error)).split())
        print(
            f"error: {what}: this is a defect of paraformer_bench; a report of it needs all lines "
            "from Traceback on",
            file=sys.stderr,
        )
        return DEFECT
    return int(code or 0)


def _is_the_users(error: OSError, arguments: Sequence[str]) -> bool:
    """Whether an error is about a full disk, or a file in a place that the user named."""
    if error.errno in _FULL_DISK:
        return True
    if not isinstance(error.filename, str):
        return False
    words = [word.partition("=")[2] or word for word in arguments]
    places = [place.absolute() for place in (REPORTS, *map(Path, words))]
    file = Path(error.filename).absolute()
    return any(place == file or place in file.parents or file in place.parents for place in places)


def _refuse(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


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
def _outlasting_output() -> Iterator[None]:
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


if __name__ == "__main__":
    sys.exit(main())
