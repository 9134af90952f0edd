"""Does asking for timelines change what is timed? Sweeps with them against sweeps without.

Run as ``python benchmarks/profile_effect.py``; it takes about five minutes on two CPU cores. A
pair is a sweep with ``--profile all`` and one with ``--profile none`` over the same cases, one
right after the other, each of one block, and every other pair the other way round. Printed are,
for each pair, the ratio of the timed medians (with to without, the geometric mean over the cases),
the same relative to the sentinel (a small net that is timed around every case and never changes,
so that it moves with the machine alone), and how much longer a call took under the profiler; then
the median ratio of each case over the pairs, and those of all with their distribution-free 95%
intervals. Timing and profiling are separate passes in separate processes, so the target is within
3% of 1, both ways. It needs an idle machine: what is left is the difference between two processes,
which other programs make larger than that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import sys
import tempfile
from pathlib import Path
from statistics import fmean, median
from typing import Any

from scipy import stats

from paraformer_bench.__main__ import main as paraformer_bench
from paraformer_bench.analysis.medians import log_median, sentinel_seconds
from paraformer_bench.study.run_folder import read_run

FEWEST_PAIRS = 6
"""An interval of 95% takes six."""

LIMIT = 0.03

SUITE = """
[protocol]
blocks = 1
rounds = 3
seconds_per_case = {seconds}
target_relative_error = 1e-9

[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
depth = [1, 8]
"""


def sweep(folder: Path, suite: Path, device: str, profile: str) -> tuple[dict[str, float], float]:
    """Return the logarithms of each case's median seconds, and of the sentinel's."""
    files = ["--suite", str(suite), "--out", str(folder)]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = paraformer_bench(["sweep", "--device", device, "--profile", profile, *files])
    if code:
        sys.exit(f"the sweep ended with code {code}: {said.getvalue()}")
    records = read_run(folder).records
    sentinel = median(s for record in records if (s := sentinel_seconds(record)))
    return {r.case.id: log_median(r, "wall") for r in records}, math.log(sentinel)


def slowdown(folder: Path) -> float:
    """How much longer a call took under the profiler: the median over the cases."""
    profiles = read_run(folder).info.profiles or {}
    return median(profile.slowdown for profile in profiles.values() if profile.slowdown)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8, help="sweeps of each kind (8)")
    parser.add_argument("--seconds", type=float, default=0.8, help="for each case (0.8)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (cpu)")
    arguments = parser.parse_args()
    differences: list[dict[str, float]] = []
    moved: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite = folder / "effect.toml"
        suite.write_text(SUITE.format(seconds=arguments.seconds), encoding="utf-8")
        for pair in range(max(arguments.pairs, FEWEST_PAIRS)):
            found = {
                kind: sweep(folder / f"{kind}-{pair}", suite, arguments.device, kind)
                for kind in (("all", "none") if pair % 2 else ("none", "all"))
            }
            (with_, machine_with), (without, machine_without) = found["all"], found["none"]
            differences.append({case: with_[case] - time for case, time in without.items()})
            moved.append(machine_with - machine_without)
            mean = fmean(differences[-1].values())
            slower = slowdown(folder / f"all-{pair}")
            print(
                f"pair {pair + 1}: with / without {math.exp(mean):.3f}, relative to the sentinel "
                f"{math.exp(mean - moved[-1]):.3f}; profiled x{slower:.2f}",
                flush=True,
            )
    for case in differences[0]:
        print(f"{case}: {math.exp(median(pair[case] for pair in differences)):.3f}")
    means = [fmean(pair.values()) for pair in differences]
    relative = [mean - machine for mean, machine in zip(means, moved, strict=True)]
    told = (("as timed", means), ("relative to the sentinel", relative))
    return max(_tell(name, logs) for name, logs in told)


def _tell(name: str, logs: list[float]) -> int:
    """Print the median ratio of the pairs with its interval; 1 if it is beyond the limit."""
    ratios = [math.exp(one) for one in logs]
    interval: Any = stats.quantile_test(ratios).confidence_interval(0.95)
    middle = median(ratios)
    within = abs(middle - 1) <= LIMIT
    print(
        f"{name}: median ratio {middle:.3f}, 95% interval {interval.low:.3f} to "
        f"{interval.high:.3f}; within {LIMIT:.0%}: {'yes' if within else 'no'}"
    )
    return int(not within)


if __name__ == "__main__":
    sys.exit(main())
