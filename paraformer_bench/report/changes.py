"""Changes over commits as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paraformer_bench.history.changes import IMPROVEMENT, REGRESSION, SMALL, Change, Gap, Judgement
from paraformer_bench.history.commits import Commit
from paraformer_bench.history.results import BYTES, EXACT, SECONDS, Name, first_word
from paraformer_bench.study.words import MIB, count, percent, printable, short, time, times

_MOST_NAMES = 3
MOVED = 0.05
"""How far a machine must have moved to be worth a word."""


@dataclass(frozen=True)
class CommitChanges:
    """What one commit changed, the largest first.

    Attributes:
        commit: The commit.
        changes: Regressions first; those below the threshold are left out.
    """

    commit: Commit
    changes: list[Change]

    @property
    def between(self) -> int:
        """Most commits without data just before this one: they may be the cause."""
        return max(change.between for change in self.changes)

    @property
    def worse(self) -> bool:
        """Whether anything became worse."""
        return self.changes[0].verdict == REGRESSION


def groups(changes: Sequence[Change]) -> list[CommitChanges]:
    """Return what each commit changed beyond the threshold, the most important commit first."""
    held: dict[str, list[Change]] = {}
    for change in changes:
        if change.verdict != SMALL:
            held.setdefault(change.commit.hash, []).append(change)
    found = []
    for members in held.values():
        members.sort(key=lambda change: (change.verdict != REGRESSION, -change.size))
        found.append(CommitChanges(members[0].commit, members))
    return sorted(found, key=lambda group: (not group.worse, -group.changes[0].size))


def lines(judgement: Judgement) -> list[str]:
    """Return everything worth saying, a line each: changes, then gaps, then the sum."""
    said = []
    apart = len({track.series.name.environment for track in judgement.tracks}) > 1
    for group in groups(judgement.changes):
        said.append(titled(group.commit) + _doubt(group.between))
        said += [f"  {_change(change)}{_where(change.name, apart)}" for change in group.changes]
    for gap in merged(judgement.gaps):
        said.append(_gap(gap) + (_where(gap.names[0], apart) if apart else ""))
    said += notes(judgement)
    return [one_line(line) for line in (*said, summary(judgement))]


def _where(name: Name, apart: bool) -> str:
    """Name the machine, and the environment if there are several."""
    return f" on {name.machine}{f', {name.environment}' if apart else ''}" if name.machine else ""


def _doubt(between: int) -> str:
    if not between:
        return ""
    return f"  (or {count(between, 'commit')} just before it, without data)"


def one_line(text: str) -> str:
    """Return text that any terminal can show, on one line."""
    return printable(text).replace("\r", " ").replace("\n", " ")


def summary(judgement: Judgement) -> str:
    """Say in one line what was found."""
    verdicts = [change.verdict for change in judgement.changes]
    worse, better = verdicts.count(REGRESSION), verdicts.count(IMPROVEMENT)
    told = [count(worse, "regression"), count(better, "improvement")]
    if verdicts.count(SMALL):
        told.append(f"{verdicts.count(SMALL)} sure but below the threshold")
    commits = len({change.commit.hash for change in judgement.changes if change.verdict != SMALL})
    judged = len([c for c in judgement.history.commits if c.hash in judgement.judged])
    return (
        f"{', '.join(told)}, at {commits} of {count(judged, 'commit')}; "
        f"{count(len(judgement.tracks), 'benchmark')} with data, "
        f"threshold {percent(judgement.threshold)}"
    )


def notes(judgement: Judgement) -> list[str]:
    """Say what a reader must know of the machine and of the order of commits."""
    said = []
    moved = [m for m in judgement.moved if abs(m.ratio - 1) > MOVED]
    if moved:
        ends = min(m.ratio for m in moved), max(m.ratio for m in moved)
        span = " and ".join(f"{short(end)}×" for end in dict.fromkeys(ends))
        said.append(
            f"note: at {count(len(moved), 'commit')} most times moved together, by up to "
            f"{span}: that is taken for the machine and left out"
        )
    if judgement.unjudged:
        said.append(
            "note: not judged, as one value a commit says nothing of its scatter: "
            + some(judgement.unjudged)
        )
    history = judgement.history
    if history.left_out:
        number = count(len(history.left_out), "commit")
        said.append(f"note: {number} with results not in the history of HEAD, left out")
    if not history.from_git:
        said.append("note: no repository here knows these commits; they are ordered by date")
    return said


def titled(commit: Commit) -> str:
    """Return short hash and subject."""
    return f"{commit.short}  {commit.subject}".rstrip()


@dataclass(frozen=True)
class GapRun:
    """Commits at which the same benchmarks have no data for the same reason."""

    commits: tuple[Commit, ...]
    reason: str
    names: tuple[Name, ...]
    whole: bool


def merged(gaps: Sequence[Gap]) -> list[GapRun]:
    """Put gaps that differ in nothing but the commit together."""
    held: dict[tuple[str, tuple[Name, ...], bool], list[Commit]] = {}
    for gap in gaps:
        held.setdefault((gap.reason, gap.names, gap.whole), []).append(gap.commit)
    return [GapRun(tuple(commits), *key) for key, commits in held.items()]


def some(names: Sequence[Name]) -> str:
    """Return the first few names."""
    more = len(names) - _MOST_NAMES
    told = ", ".join(name.label for name in names[:_MOST_NAMES])
    return f"{told} and {more} more" if more > 0 else told


def _gap(gap: GapRun) -> str:
    where = titled(gap.commits[0])
    if len(gap.commits) > 1:
        where = f"{len(gap.commits)} commits, {gap.commits[0].short} to {gap.commits[-1].short}"
    if gap.whole:
        return f"no data at {where}: {gap.reason}, all {len(gap.names)} benchmarks"
    return f"no data at {where}: {gap.reason}: {some(gap.names)}"


def size(change: Change) -> str:
    """Return the ratio, or the difference where there is none."""
    if change.ratio is not None:
        return f"{change.ratio:.3f}×" if change.ratio < 100 else times(change.ratio)
    return f"{change.after - change.before:+.3g}"


def interval(change: Change) -> str:
    """Return the interval of the ratio; exact values have none."""
    if change.kind == EXACT:
        return "exact"
    if change.low is None or change.high is None:
        return ""
    return f"{change.low:.3f} to {change.high:.3f}"


def values(change: Change) -> str:
    """Return the levels before and after; of exact values every digit."""
    if change.kind == EXACT:
        return f"{change.before:,.15g} → {change.after:,.15g} {change.unit}".rstrip()
    return f"{value(change.before, change.unit)} → {value(change.after, change.unit)}"


def value(number: float, unit: str) -> str:
    """Return a number with its unit, as people read it."""
    word = first_word(unit)
    rest = unit[len(word) :].rstrip() if unit.lower().startswith(word) else ""
    if word in SECONDS:
        return time(number * SECONDS[word]) + rest
    if word in BYTES:
        return f"{short(number * BYTES[word] * MIB)} MiB{rest}"
    return f"{short(number)} {unit}".rstrip()


def _change(change: Change) -> str:
    reach = interval(change)
    return (
        f"{change.verdict.upper():<11}  {size(change)}{f' ({reach})' if reach else ''}  "
        f"{change.name.label}  {values(change)}"
    )
