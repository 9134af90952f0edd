"""Does asking for timelines change what is timed? Sweeps with them against sweeps without.

Run as ``python benchmarks/profile_effect.py``; it takes about five minutes on two CPU cores. A
pair is a sweep with ``--profile all`` and one with ``--profile none`` over the same cases, one
right after the other, each of one block, and every other pair the other way round. Printed are,
for each pair, the ratio of the timed medians (with to without, the geometric mean over the cases)
and how much longer a call took under the profiler; then the median ratio of each case over the
pairs, and that of all with its distribution-free 95% interval. Timing and profiling are separate
passes in separate processes, so the target is within 3% of 1. It needs an idle machine: what is
left is the difference between two processes, which other programs make larger than that.
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
from paraformer_bench.analysis.medians import log_median
from paraformer_bench.profiling import Profile
from paraformer_bench.run_folder import read_run

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


def sweep(folder: Path, suite: Path, device: str, profile: str) -> dict[str, float]:
    """Return the logarithm of each case's median seconds."""
    files = ["--suite", str(suite), "--out", str(folder)]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = paraformer_bench(["sweep", "--device", device, "--profile", profile, *files])
    if code:
        sys.exit(f"the sweep ended with code {code}: {said.getvalue()}")
    return {record.case.id: log_median(record, "wall") for record in read_run(folder).records}


def slowdown(folder: Path) -> float:
    """How much longer a call took under the profiler: the median over the cases."""
    profiles = map(Profile.from_json, read_run(folder).info["profiles"].values())
    return median(profile.slowdown for profile in profiles if profile.slowdown)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8, help="sweeps of each kind (8)")
    parser.add_argument("--seconds", type=float, default=0.8, help="for each case (0.8)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (cpu)")
    arguments = parser.parse_args()
    differences: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        suite = folder / "effect.toml"
        suite.write_text(SUITE.format(seconds=arguments.seconds), encoding="utf-8")
        for pair in range(max(arguments.pairs, FEWEST_PAIRS)):
            found = {
                kind: sweep(folder / f"{kind}-{pair}", suite, arguments.device, kind)
                for kind in (("all", "none") if pair % 2 else ("none", "all"))
            }
            differences.append({c: found["all"][c] - t for c, t in found["none"].items()})
            ratio = math.exp(fmean(differences[-1].values()))
            slower = slowdown(folder / f"all-{pair}")
            print(
                f"pair {pair + 1}: with / without {ratio:.3f}; profiled x{slower:.2f}", flush=True
            )
    for case in differences[0]:
        print(f"{case}: {math.exp(median(pair[case] for pair in differences)):.3f}")
    ratios = [math.exp(fmean(pair.values())) for pair in differences]
    interval: Any = stats.quantile_test(ratios).confidence_interval(0.95)
    middle = median(ratios)
    print(f"median ratio {middle:.3f}, 95% interval {interval.low:.3f} to {interval.high:.3f}")
    print(f"within {LIMIT:.0%}: {'yes' if abs(middle - 1) <= LIMIT else 'no'}")
    return int(abs(middle - 1) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
