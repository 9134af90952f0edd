"""The process of a rank other than the first: see `ranks.follower`.

Run as ``python -m paraformer_bench.workers.follower`` by `ranks.team`. Orders come on stdin,
answers go to what was stdout when the process started.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from paraformer_bench.instrument.device import describe
from paraformer_bench.ranks.follower import Answer, Hello, follow
from paraformer_bench.study.plugins import load_plugins
from paraformer_bench.workers.process import ParentGone, die_with_parent, take_stdout


def main() -> int:
    """Follow rank 0 to the end of its orders.

    Returns:
        0, or 1 when a call failed half way or rank 0 has gone.
    """
    emit = take_stdout()
    die_with_parent()

    def answer(message: Answer) -> None:
        emit(msgspec.to_builtins(message))

    hello = msgspec.json.decode(sys.stdin.buffer.readline(), type=Hello)
    load_plugins(map(Path, hello.plugins))
    try:
        follow(hello, sys.stdin.buffer, answer)
    except ParentGone:
        return 1
    except Exception as error:
        answer(Answer(*describe(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
