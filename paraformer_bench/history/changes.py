"""What the history of benchmarks says: changes, gaps, and the series they were read from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from paraformer_bench.history.commits import Commit, History
from paraformer_bench.history.results import BenchmarkSeries, Name

THRESHOLD = 0.05
"""Change that counts, if nothing else is said. Of exact values every change counts."""

REGRESSION, IMPROVEMENT, SMALL = "regression", "improvement", "below threshold"
NOT_THERE, NO_RESULT, TOO_FEW = "not measured", "failed", "too few samples"


@dataclass(frozen=True)
class Change:
    """One benchmark changed at one commit.

    Attributes:
        commit: The first with the new level.
        previous: The last with the old one.
        between: Commits between the two, of the history or the results, that have no data.
        kind: `results.TIME`, `RATIO`, `PLAIN` or `EXACT`.
        verdict: `REGRESSION`, `IMPROVEMENT` or `SMALL`. Smaller is better.
        before: Old level, what the machine did taken out; ``after`` is the new one.
        ratio: New level over old one; null where a level is not positive.
        low: Lower bound of the ratio, 95% two-sided, and ``high`` the upper one; the ratio itself
            for exact values.
    """

    commit: Commit
    previous: Commit
    between: int
    name: Name
    unit: str
    kind: str
    verdict: str
    before: float
    after: float
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def size(self) -> float:
        """How important it is: the distance of the ratio from 1 on a logarithmic scale."""
        if self.ratio is not None and self.ratio > 0:
            return abs(math.log(self.ratio))
        return abs(_relative(self.before, self.after))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, commits and name flat."""
        flat: dict[str, Any] = {
            "commit": self.commit.hash,
            "subject": self.commit.subject,
            "previous": self.previous.hash,
            "between": self.between,
            "machine": self.name.machine,
            "environment": self.name.environment,
            "benchmark": self.name.benchmark,
            "params": dict(self.name.params),
        }
        return flat | {key: v for key, v in vars(self).items() if key not in (*flat, "name")}


@dataclass(frozen=True)
class Gap:
    """Benchmarks without data at one commit.

    Attributes:
        reason: `NOT_THERE`, `NO_RESULT` or `TOO_FEW`.
        whole: They are all benchmarks of the machine and environment.
    """

    commit: Commit
    reason: str
    names: tuple[Name, ...]
    whole: bool


@dataclass(frozen=True)
class Track:
    """One series as it was judged: what a figure shows.

    Attributes:
        commits: Those with data; the other fields have one value for each of them.
        blocks: Block medians, what the machine did taken out.
        values: The value of the commit, likewise.
        measured: The same with the machine left in.
    """

    series: BenchmarkSeries
    commits: tuple[Commit, ...]
    blocks: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    measured: tuple[float, ...]
    levels: tuple[float, ...]


@dataclass(frozen=True)
class Moved:
    """What the machine did to the times of one commit.

    Attributes:
        ratio: Its times over those of the median commit, in most benchmarks.
    """

    commit: Commit
    machine: str
    ratio: float


@dataclass
class Judgement:
    """What the history says.

    Attributes:
        judged: Hashes of the commits whose changes count.
        threshold: Change that counts.
        changes: By commit, oldest first; within one the largest first.
        gaps: What had no data at the judged commits.
        tracks: All series with data, in the order of the results.
        unjudged: Benchmarks with values, and nowhere enough samples to know how they scatter.
        tests: Places for a change, over all series with scatter.
    """

    history: History
    judged: frozenset[str]
    threshold: float
    changes: list[Change] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    unjudged: list[Name] = field(default_factory=list)
    tests: int = 0

    @property
    def regressions(self) -> list[Change]:
        """Changes for the worse that count."""
        return [change for change in self.changes if change.verdict == REGRESSION]


def verdict_of(before: float, after: float, ratio: float | None, threshold: float) -> str:
    """Say whether a change of a level is for the worse, for the better, or small."""
    if ratio is not None:
        above, below = ratio > 1 + threshold, ratio < 1 / (1 + threshold)
    else:
        change = _relative(before, after)
        above, below = change > threshold, change < -threshold
    return REGRESSION if above else IMPROVEMENT if below else SMALL


def _relative(before: float, after: float) -> float:
    """Change of a value that can be zero: a share of the old one, or as it is if that is small."""
    return (after - before) / max(abs(before), 1.0)
