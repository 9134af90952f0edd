"""The commits in their order: as git says, or by the dates in the result files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paraformer_bench.study.errors import UsageError


@dataclass(frozen=True)
class Commit:
    """One commit of the history.

    Attributes:
        subject: First line of its message; empty where there is no repository to ask.
        between: Commits of the history between this one and the one before it in the list: they
            were not measured.
    """

    hash: str
    subject: str = ""
    between: int = 0

    @property
    def short(self) -> str:
        """As people write it."""
        return self.hash[:8]


@dataclass(frozen=True)
class History:
    """Commits with results, oldest first: in the order of git's first parents, or of their dates.

    Attributes:
        line: All hashes in that order, where git knows them those without results too.
        left_out: Commits with results that are not in the history of HEAD.
        from_git: Whether a repository knew them.
    """

    commits: tuple[Commit, ...]
    line: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    from_git: bool = True


def order(measured: Iterable[str], dates: Mapping[str, float], repository: Path) -> History:
    """Put the measured commits in order.

    The order is that of the first parents of HEAD: a commit of a branch is seen when it is
    merged. Where git knows none of the commits, the dates (seconds since 1970) order them.
    """
    wanted = set(measured)
    text = _git(repository, "log", "--first-parent", "--reverse", "--format=%H%x00%s")
    log = [line.split("\0", 1) for line in text.split("\n") if "\0" in line]
    commits: list[Commit] = []
    between = 0
    for commit, subject in log:
        if commit in wanted:
            commits.append(Commit(commit, subject, between if commits else 0))
            between = 0
        else:
            between += 1
    if not commits:
        by_date = sorted(wanted, key=lambda commit: (dates.get(commit, 0.0), commit))
        return History(tuple(map(Commit, by_date)), tuple(by_date), from_git=False)
    line = tuple(commit for commit, _ in log)
    return History(tuple(commits), line, tuple(sorted(wanted.difference(line))))


def judged(
    history: History, last: int | None, between: str | None, repository: Path
) -> frozenset[str]:
    """Return the hashes at which a change counts: all, the last few, or those of a range A..B.

    Raises:
        UsageError: Both were asked for, or the range names no commit.
    """
    hashes = [commit.hash for commit in history.commits]
    if last is not None and between is not None:
        raise UsageError("give --last or --commits, not both")
    if last is not None:
        return frozenset(hashes[-last:])
    if between is None:
        return frozenset(hashes)
    start, dots, end = between.partition("..")
    if not dots or not start or end.startswith("."):
        raise UsageError(f"{between!r} is not a range of commits such as main..HEAD")
    ends = [_resolve(name or "HEAD", hashes, repository) for name in (start, end)]
    line = history.line
    before, at_end = (line.index(commit) if commit in line else -1 for commit in ends)
    if at_end < 0:
        raise UsageError(f"{end or 'HEAD'} is not in the history of HEAD")
    return frozenset(line[before + 1 : at_end + 1])


def _resolve(name: str, hashes: Sequence[str], repository: Path) -> str:
    options = ("--verify", "--quiet", "--end-of-options")
    if full := _git(repository, "rev-parse", *options, f"{name}^{{commit}}").strip():
        return full
    matches = [commit for commit in hashes if commit.startswith(name)]
    if len(name) < 4 or len(matches) != 1:
        raise UsageError(f"{name!r} names no commit that git or the results know")
    return matches[0]


def _git(folder: Path, *arguments: str) -> str:
    """What git says; empty if there is no git, no repository or no answer."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")
