"""How often does `regressions` cry wolf, and how often does it name the commit to blame?

Run as ``python -m benchmarks.regression_rates``; it takes five to six minutes on one core. A
simulated history is 12 times over 3 to 50 commits with 8 blocks each. Every block scatters
("noise"); every commit has a factor that all its times share ("run to run"), as a machine that
others use gives it. In a history with a change, a third of the times becomes slower at one commit,
any but the first. Ours is judged by the code that judges real results; beside it, where it is
installed, stands asv's step detector with asv's own statistics, at the same threshold.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from paraformer_bench.history.changes import THRESHOLD
from paraformer_bench.history.detect import detect

try:
    from asv._stats import get_weight
    from asv.step_detect import detect_regressions, detect_steps
    from asv_runner.statistics import compute_stats
except ImportError:  # asv is an extra
    detect_steps = None

Array = npt.NDArray[np.float64]

TIMES, CHANGED, BLOCKS = 12, 4, 8
COMMITS = (3, 6, 12, 50)
NOISES = (0.01, 0.02, 0.05, 0.10, 0.15)
SHIFTS = (0.0, 0.05, 0.15)
CHANGES = ((1.1, "10% slower"), (2.0, "2x slower"))
NO_OPS, CHANGED_HISTORIES, OF_ASV = 1_000, 250, 20
"""Histories a cell: without a change, with one, and judged by asv too."""


@dataclass(frozen=True)
class Cell:
    """What histories have in common.

    Attributes:
        commits: Length.
        noise: Standard deviation of a block around its commit, relative.
        shift: Standard deviation of the factor that all times of a commit share.
        heavy: Blocks scatter as Student's t with 3 degrees of freedom, scaled to the same spread.
        uneven: Standard deviation of the factor that each time of a commit has for itself.
        factor: By how much a third of the times becomes slower; 1 for no change.
    """

    commits: int
    noise: float
    shift: float = 0.15
    heavy: bool = False
    factor: float = 1.0
    uneven: float = 0.0


@dataclass(frozen=True)
class History:
    """One history: logarithms of block medians as times x commits x blocks, and its truth."""

    logs: Array
    changed_at: int


Judge = Callable[[History], set[tuple[int, int, bool]]]
"""Returns row, commit and whether it became slower, for each change that it names."""


def histories(cell: Cell, count: int, seed: int = 1) -> Iterator[History]:
    """Draw histories."""
    rng = np.random.default_rng([seed, cell.commits, int(cell.heavy)])
    for _ in range(count):
        shape = (TIMES, cell.commits, BLOCKS)
        noise = (
            rng.standard_t(3, shape) / math.sqrt(3) if cell.heavy else rng.standard_normal(shape)
        )
        logs = rng.normal(0.0, 1.0, (TIMES, 1, 1)) + cell.noise * noise
        logs += math.log1p(cell.shift) * rng.standard_normal((1, cell.commits, 1))
        logs += cell.uneven * rng.standard_normal((TIMES, cell.commits, 1))
        changed_at = int(rng.integers(1, cell.commits))
        logs[:CHANGED, changed_at:] += math.log(cell.factor)
        yield History(logs, changed_at)


def ours(history: History) -> set[tuple[int, int, bool]]:
    """Changes beyond the threshold that our own test names."""
    places = TIMES * (history.logs.shape[1] - 1)
    steps = detect(history.logs, timed=True, tests=places).steps
    limit = math.log1p(THRESHOLD)
    return {(s.series, s.commit, s.change > 0) for s in steps if abs(s.change) > limit}


def asvs(history: History) -> set[tuple[int, int, bool]]:
    """Regressions that asv's pages would show."""
    found = set()
    for series, commits in enumerate(np.exp(history.logs)):
        known = [compute_stats(blocks.tolist(), 1) for blocks in commits]
        weights = [get_weight(stats) for _, stats in known]
        steps = detect_steps([value for value, _ in known], weights)
        places = detect_regressions(steps, THRESHOLD)[2]
        found |= {(series, after, True) for _, after, _, _ in places or ()}
    return found


def rates(cell: Cell, judge: Judge, count: int) -> tuple[float, float, float]:
    """Shares of histories: any change named, one of the true ones, and exactly the right commit.

    The last is the share in which all that is named lies at the commit that changed.
    """
    named = hit = exact = 0
    for history in histories(cell, count):
        found = judge(history)
        true = {each for each in found if each[0] < CHANGED and each[2]}
        at_fault = {commit for _, commit, _ in found} == {history.changed_at}
        named += bool(found)
        hit += any(commit == history.changed_at for _, commit, _ in true)
        exact += bool(true) and at_fault
    return named / count, hit / count, exact / count


def tables(
    judge: Judge,
    titles: dict[str, int],
    count: int,
    factor: float = 1.0,
    shift: float = SHIFTS[-1],
    uneven: float = 0.0,
) -> None:
    """Print kinds of rates, each a table of commits by noise, for both kinds of noise.

    Args:
        judge: Ours or asv's.
        titles: What to print -> its place among `rates`.
        count: Histories a cell.
        factor: Change of a third of the times.
        shift: From run to run, of all times alike.
        uneven: From run to run, of each time for itself.
    """
    found = {
        commits: [
            rates(Cell(commits, noise, shift, heavy, factor, uneven), judge, count)
            for heavy, noise in product((False, True), NOISES)
        ]
        for commits in COMMITS
    }
    for title, column in titles.items():
        each = f" and {uneven:.0%} each" if uneven else ""
        print(f"\n{title}; run to run {shift:.0%}{each}; {count:,} histories a cell")
        print("        " + "normal noise".rjust(12).ljust(8 * len(NOISES)) + "t3 noise".rjust(12))
        print("commits " + "".join(f"{noise:>8.0%}" for noise in NOISES * 2))
        for commits, shares in found.items():
            print(f"{commits:>7} " + "".join(f"{each[column]:>8.1%}" for each in shares))
    sys.stdout.flush()


def main() -> None:
    for shift in SHIFTS:
        count = NO_OPS if shift == SHIFTS[-1] else NO_OPS // 10
        tables(ours, {"ours, nothing changed: called changed": 0}, count, shift=shift)
    title = "ours, nothing changed: called changed"
    tables(ours, {title: 0}, NO_OPS // 2, uneven=0.03)
    for factor, what in CHANGES:
        titles = {
            f"ours, a third {what}: named at its commit": 1,
            f"ours, a third {what}: named, and no other commit": 2,
        }
        tables(ours, titles, CHANGED_HISTORIES, factor)
    if detect_steps is None:
        print("\nasv is not installed: no contrast")
        return
    for shift in (SHIFTS[0], SHIFTS[-1]):
        tables(asvs, {"asv, nothing changed: called slower": 0}, OF_ASV, shift=shift)
        for factor, what in CHANGES:
            title = f"asv, a third {what}: named, and no other commit"
            tables(asvs, {title: 2}, OF_ASV, factor, shift)


if __name__ == "__main__":
    main()
