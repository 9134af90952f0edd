"""``python -m paraformer_bench``: run the command line and turn errors into exit codes."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from paraformer_bench.cli import cli
from paraformer_bench.output import outlasting_output
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
    with outlasting_output():
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


if __name__ == "__main__":
    sys.exit(main())
