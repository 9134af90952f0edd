"""The command from its arguments to the judgement."""

from __future__ import annotations

from pathlib import Path

from paraformer_bench.history.change import Judgement
from paraformer_bench.history.history import judged, order
from paraformer_bench.history.judge import judge
from paraformer_bench.history.results import read_results
from paraformer_bench.history.settings import find_place


def look(
    results: Path | None,
    machine: str | None,
    threshold: float,
    last: int | None,
    commits: str | None,
) -> tuple[Judgement, list[str]]:
    """Read the results, put their commits in order and judge them; also return the warnings.

    Args:
        results: asv's folder of results; null for the one of the configuration here.
        machine: Judge this machine alone.
        threshold: Change that counts.
        last: Tell of the last so many commits alone.
        commits: Tell of a range ``A..B`` alone.

    Raises:
        UsageError: There is nothing to judge, or a name is not known.
    """
    place = find_place(results, Path.cwd())
    found = read_results(place.results, machine)
    measured = set().union(*found.measured.values())
    history = order(measured, found.dates, place.repository)
    told = judged(history, last, commits, place.repository)
    return judge(found, history, told, threshold), found.warnings
