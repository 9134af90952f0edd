"""Does `compare` cry wolf on this machine? Runs that are alike, one after the other.

Run as ``python -m benchmarks.repeats FOLDER [--runs 21]`` on a machine that does nothing else; a
run takes about half a minute on two cores. Every run is a sweep of its own through the command
line (a small grid, 5 blocks), and each is compared with the next one: 21 runs are 20 repeats.
Runs that are there already are not measured again. Printed are the cases that were called
different in each repeat and in all of them together; the target is at most 1%.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

from paraformer_bench.analysis.compare import FASTER, SLOWER, compare, shift
from paraformer_bench.study import child
from paraformer_bench.study.run_folder import Run, read_run

SUITE = """\
name = "repeats"

[protocol]
blocks = 5
rounds = 3
seconds_per_case = 0.1
target_relative_error = 0.01
timeout_seconds = 60

[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
runtimes = "eager"
depth = [1, 8]
width = 192
"""


def measure(folder: Path, number: int) -> Run:
    """Return run ``number``, measured now if it is not there."""
    out = folder / f"run-{number:02}"
    arguments = [
        "sweep",
        "--profile",
        "none",
        "--suite",
        str(folder / "repeats.toml"),
        "--out",
        str(out),
    ]
    finished = out.exists() and read_run(out).info.get("finished")
    if not finished:
        resume = ["--resume"] if (out / "run.json").exists() else []
        subprocess.run(
            [sys.executable, "-m", "paraformer_bench", *arguments, *resume],
            env=child.environment(),
            stdout=subprocess.DEVNULL,
            check=True,
        )
    return read_run(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=21)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "repeats.toml").write_text(SUITE, encoding="utf-8")
    every: Counter[str] = Counter()
    before = measure(options.folder, 0)
    for number in range(1, options.runs):
        after = measure(options.folder, number)
        contrasts = compare(before, after)
        found = Counter(contrast.verdict for contrast in contrasts)
        every += found
        worst = max((c.ratio for c in contrasts if c.ratio), key=lambda r: max(r, 1 / r))
        moved = shift(contrasts, before, after)
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(found.items()))
        sentinel = f"{moved.sentinel:.3f}" if moved.sentinel else "unknown"
        print(
            f"repeat {number}: {told}; largest ratio {worst:.3f}, median {moved.cases:.3f}, "
            f"sentinel {sentinel}",
            flush=True,
        )
        before = after
    different, cases = every[SLOWER] + every[FASTER], sum(every.values())
    print(f"all: {different} of {cases} cases called different ({different / cases:.2%})")
    return int(different > 0.01 * cases)


if __name__ == "__main__":
    sys.exit(main())
