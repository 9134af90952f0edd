"""The order of commits, and which of them are told of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from paraformer_bench.history.commits import judged, order
from paraformer_bench.study.errors import UsageError


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, list[str]]:
    """Five commits whose dates run backwards, and a branch that was merged as the fourth."""
    folder = tmp_path / "repository"
    folder.mkdir()

    def git(*arguments: str, day: int = 1) -> str:
        when = f"2025-01-{20 - day:02}T12:00:00+00:00"
        who = {
            **{f"GIT_{role}_{key}": "x@y" for role in ("AUTHOR", "COMMITTER") for key in _WHO},
            **{f"GIT_{role}_DATE": when for role in ("AUTHOR", "COMMITTER")},
            **{"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        }
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, env=who, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    hashes = []
    git("init", "--quiet", "--initial-branch", "main")
    for day in (1, 2, 3):
        git("commit", "--quiet", "--allow-empty", "--message", f"Number {day}\n\nMore.", day=day)
        hashes.append(git("rev-parse", "HEAD"))
    git("checkout", "--quiet", "-b", "side")
    git("commit", "--quiet", "--allow-empty", "--message", "On the side", day=4)
    side = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "main")
    git("merge", "--quiet", "--no-ff", "--message", "Merge it", "side", day=5)
    hashes.append(git("rev-parse", "HEAD"))
    git("commit", "--quiet", "--allow-empty", "--message", "Number 5", day=6)
    return folder, [*hashes, git("rev-parse", "HEAD"), side]


_WHO = ("NAME", "EMAIL")


def test_the_order_is_that_of_first_parents(repository: tuple[Path, list[str]]) -> None:
    folder, (one, two, three, merge, five, side) = repository
    history = order({five, side, one, merge, three}, {}, folder)
    assert [commit.hash for commit in history.commits] == [one, three, merge, five]
    assert [commit.between for commit in history.commits] == [0, 1, 0, 0]
    assert [commit.subject for commit in history.commits] == [
        *("Number 1", "Number 3", "Merge it", "Number 5")
    ]
    assert history.left_out == (side,)
    assert history.from_git
    assert two not in {commit.hash for commit in history.commits}


def test_without_a_repository_dates_order(tmp_path: Path) -> None:
    history = order({"a" * 40, "b" * 40}, {"a" * 40: 2.0, "b" * 40: 1.0}, tmp_path)
    assert [commit.hash[0] for commit in history.commits] == ["b", "a"]
    assert not history.from_git


def test_a_repository_that_knows_no_commit_orders_none(
    repository: tuple[Path, list[str]],
) -> None:
    history = order({"a" * 40, "b" * 40}, {"a" * 40: 2.0, "b" * 40: 1.0}, repository[0])
    assert [commit.hash[0] for commit in history.commits] == ["b", "a"]


def test_ranges(repository: tuple[Path, list[str]]) -> None:
    folder, (one, two, three, merge, five, _) = repository
    history = order({one, two, three, merge, five}, {}, folder)
    assert judged(history, None, None, folder) == {one, two, three, merge, five}
    assert judged(history, 2, None, folder) == {merge, five}
    assert judged(history, 9, None, folder) == {one, two, three, merge, five}
    assert judged(history, None, "HEAD~2..HEAD", folder) == {merge, five}
    assert judged(history, None, f"{one[:8]}..", folder) == {two, three, merge, five}
    assert judged(history, None, f"{two}..{three}", folder) == {three}


@pytest.mark.parametrize(
    ("between", "message"),
    [
        ("HEAD", "'HEAD' is not a range of commits such as main..HEAD"),
        ("..HEAD", "is not a range"),
        ("HEAD~1...HEAD", "is not a range"),
        ("nowhere..HEAD", "'nowhere' names no commit that git or the results know"),
        ("--all..HEAD", "'--all' names no commit"),
        ("HEAD..side", "side is not in the history of HEAD"),
    ],
)
def test_wrong_ranges(repository: tuple[Path, list[str]], between: str, message: str) -> None:
    folder, (one, *_) = repository
    history = order({one}, {}, folder)
    with pytest.raises(UsageError, match=message):
        judged(history, None, between, folder)


def test_a_range_without_a_repository(tmp_path: Path) -> None:
    hashes = [letter * 40 for letter in "abcd"]
    history = order(hashes, dict(zip(hashes, range(4), strict=True)), tmp_path)
    assert judged(history, None, "aaaa..cccc", tmp_path) == {hashes[1], hashes[2]}
    with pytest.raises(UsageError, match="give --last or --commits, not both"):
        judged(history, 1, "aaaa..cccc", tmp_path)
