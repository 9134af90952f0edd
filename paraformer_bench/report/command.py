"""The command ``report``: which runs, and what becomes of them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from paraformer_bench.report.build import build_report
from paraformer_bench.report.index import build_index
from paraformer_bench.report.markdown import summary
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import REPORTS, RUN


def report(runs: Sequence[Path], form: str) -> Iterator[str]:
    """Judge runs again, and yield what to print: pages as they are written, or the Markdown.

    Of the run folders each counts once; none are all below `REPORTS`. The form ``html`` rebuilds
    the pages and the list of runs, and says on stderr how several runs that are named can be
    compared; ``md`` writes nothing.

    Raises:
        UsageError: There are no runs, one cannot be read, or a page cannot be written.
    """
    named = list({os.path.realpath(run): run for run in runs}.values())
    folders = named or [path.parent for path in sorted(REPORTS.glob(f"*/{RUN}"))]
    if not folders:
        raise UsageError(f"there are no runs in {REPORTS}/: run sweep first")
    if form == "md":
        yield "\n\n".join(summary(folder).rstrip("\n") for folder in folders)
        return
    for folder in folders:
        yield str(build_report(folder))
    for parent in dict.fromkeys(folder.resolve().parent for folder in folders):
        if parent.name == REPORTS.name:
            yield str(build_index(parent))
    if len(named) > 1:
        command = shlex.join(["python", "-m", "paraformer_bench", "compare", *map(str, named)])
        print(f"note: to see them side by side: {command}", file=sys.stderr)
