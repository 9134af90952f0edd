"""Does the gate find planted regressions and nothing else? Six commits in a clone, two are bad.

Run as ``python -m benchmarks.planted_commits FOLDER [--repeats 10]`` where asv is installed. A
repeat measures seven commits, about ten minutes on two idle cores; one that was measured
before is only judged again. The commits, in a clone of this repository: nothing, nothing,
``stacked`` takes 10% longer, nothing, ``stacked`` holds twice the memory, nothing. ``asv run``
measures the range; then each of three judges names commits:

- ours: ``python -m paraformer_bench regressions --json -``;
- ``asv compare`` of each commit with the one before it, at a factor of 1.05;
- asv's step detector, as ``asv publish`` reports it.

Printed is what each named in each repeat. The exit code is 1 unless ours named exactly the two bad
commits every time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACKED = Path("paraformer_bench/executions/stacked.py")
SOME = ("--bench", "Cpu|Counts|Commands")
"""Without those of a GPU, whose n/a take a third of the time."""
RESULTS = Path("reports/asv-results")
PAGES = Path("reports/asv")

NOTHING, SLOWER, LARGER = "nothing", "10% slower", "twice the memory"
PLAN = (NOTHING, NOTHING, SLOWER, NOTHING, LARGER, NOTHING)
BAD = [number for number, change in enumerate(PLAN, start=1) if change != NOTHING]

# Old text to new text, in `STACKED`.
EDITS = {
    SLOWER: (
        (
            "        rows = x.reshape(-1, batch * tokens, width)\n        for level",
            "        started = time.perf_counter()\n"
            "        rows = x.reshape(-1, batch * tokens, width)\n        for level",
        ),
        (
            "        return rows.view(batch, tokens, width) if self._sums",
            "        until = time.perf_counter() + 0.1 * (time.perf_counter() - started)\n"
            "        while time.perf_counter() < until:\n"
            "            pass\n"
            "        return rows.view(batch, tokens, width) if self._sums",
        ),
        ("from collections.abc", "import time\nfrom collections.abc"),
    ),
    # A stacked net's peak is about twice the weights of its branches.
    LARGER: (
        (
            "        self.levels.append(_Level(last, normed, sums, fold))\n",
            "        self.levels.append(_Level(last, normed, sums, fold))\n"
            "        self.ballast = [w.detach().new_ones(2, w.numel()) for w in self.weights]\n",
        ),
    ),
}


@dataclass(frozen=True)
class Verdicts:
    """Numbers of the commits, from 0 for the one that was cloned, that each judge named."""

    ours: list[int]
    compare: list[int]
    steps: list[int]


def plant(folder: Path) -> list[str]:
    """Make the clone if it is not there; return the hashes of its seven commits, oldest first."""
    if not folder.exists():
        _run(["git", "clone", "--quiet", str(ROOT), str(folder)], cwd=ROOT)
        for number, change in enumerate(PLAN, start=1):
            path = folder / STACKED
            text = path.read_text(encoding="utf-8")
            for old, new in EDITS.get(change, ()):
                if text.count(old) != 1:
                    raise SystemExit(f"{STACKED} has changed: cannot plant {change!r} in it")
                text = text.replace(old, new)
            path.write_text(f"{text}# Commit {number}.\n", encoding="utf-8")
            who = ["-c", "user.name=planted", "-c", "user.email=planted@localhost"]
            message = ["--all", "--message", f"{number}: {change}"]
            _run(["git", *who, "commit", "--quiet", "--no-verify", *message], cwd=folder)
    log = _run(["git", "rev-list", "--reverse", f"-{len(PLAN) + 1}", "HEAD"], cwd=folder)
    return log.split()


def measure(clone: Path, kept: Path) -> None:
    """Put the results of a repeat into the clone: those in ``kept``, or measured now."""
    shutil.rmtree(clone / RESULTS, ignore_errors=True)
    if not kept.exists():
        commits = f"HEAD -{len(PLAN) + 1}"
        # 2 says that a benchmark failed.
        _run([sys.executable, "-m", "asv", "run", *SOME, commits], cwd=clone, codes=(0, 2))
        shutil.copytree(clone / RESULTS, kept.with_suffix(".partial"))
        kept.with_suffix(".partial").rename(kept)
    else:
        shutil.copytree(kept, clone / RESULTS)


def judge(clone: Path, commits: Sequence[str]) -> Verdicts:
    """Ask all three judges about the results that lie in the clone."""
    return Verdicts(ours(clone, commits), compare(clone, commits), steps(clone, commits))


def ours(clone: Path, commits: Sequence[str]) -> list[int]:
    """Commits at which our own command names a change, for the better too: none was planted."""
    command = [sys.executable, "-m", "paraformer_bench", "regressions", "--json", "-"]
    # 1 says that there is a regression.
    found = json.loads(_run(command, cwd=clone, codes=(0, 1)))
    named = (change["commit"] for change in found if change["verdict"] != "below threshold")
    return _numbers(named, commits)


def compare(clone: Path, commits: Sequence[str]) -> list[int]:
    """Commits at which ``asv compare`` marks something as worse than at the one before."""
    worse = []
    for number, (before, after) in enumerate(pairwise(commits), start=1):
        command = [sys.executable, "-m", "asv", "compare", "--factor", "1.05", before, after]
        if re.search(r"^\| \+ ", _run(command, cwd=clone), re.MULTILINE):
            worse.append(number)
    return worse


def steps(clone: Path, commits: Sequence[str]) -> list[int]:
    """Commits at which asv's pages show a regression."""
    _run([sys.executable, "-m", "asv", "publish", "--no-pull"], cwd=clone)
    pages = clone / PAGES
    hashes = json.loads((pages / "index.json").read_text())["revision_to_hash"]
    found = json.loads((pages / "regressions.json").read_text())["regressions"]
    jumps = [jump for *_, jumps in found for jump in jumps]
    return _numbers((hashes[str(after)] for _, after, *_ in jumps), commits)


def _numbers(found: Iterable[str], commits: Sequence[str]) -> list[int]:
    return sorted({commits.index(commit) for commit in found})


def _run(command: Sequence[str], cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command, with the clone's package; end here if its exit code is not expected."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Receives the clone and the results.")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    clone = (options.folder / "clone").resolve()
    commits = plant(clone)
    right = 0
    print(f"commits 1 to {len(PLAN)}: {', '.join(PLAN)}; bad are {BAD}", flush=True)
    for number in range(1, options.repeats + 1):
        measure(clone, options.folder.resolve() / f"repeat-{number:02}")
        found = judge(clone, commits)
        right += found.ours == BAD
        print(
            f"repeat {number}: ours {found.ours}, asv compare {found.compare}, "
            f"asv's steps {found.steps}",
            flush=True,
        )
    print(f"ours named exactly the bad commits in {right} of {options.repeats} repeats")
    return int(right != options.repeats)


if __name__ == "__main__":
    sys.exit(main())
