"""``python -m paraformer_bench``: run the command line and turn errors into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from paraformer_bench.cli import cli
from paraformer_bench.errors import UsageError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 `compare` or `regressions` found something worse; 2 wrong usage; 3 done, but
        some case ended as error, timeout or mismatch; 130 interrupted.
    """
    try:
        code = cli.main(
            list(sys.argv[1:] if arguments is None else arguments),
            prog_name="python -m paraformer_bench",
            standalone_mode=False,
        )
    except click.ClickException as error:
        return _refuse(error.format_message())
    except UsageError as error:
        return _refuse(str(error))
    except OSError as error:  # a file nobody expected to be unreadable
        return _refuse(str(error))
    except (KeyboardInterrupt, click.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return int(code or 0)


def _refuse(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
