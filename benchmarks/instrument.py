"""Is the instrument honest? Its medians against those of ``torch.utils.benchmark``.

Run as ``python benchmarks/instrument.py``; it takes about two minutes. The case is the serial net
of depth 4 at the reference shape (width 192, 197 tokens, batch 1). A pair is our worker, started
as a sweep starts it, and a fresh process with `Timer.blocked_autorange` on the very same net. The
two take turns of a fraction of a second, and while one measures the other is stopped: what else
happens on the machine hits both alike. Printed are the medians of each pair and their ratio, ours
to theirs, and over all pairs the medians, their ratio, and the median of the pairs' ratios with
its distribution-free 95% interval. Target: within 3% on an idle machine.

Both processes set malloc as our worker does (`steady_malloc`). With ``--plain`` theirs does not,
and is some percent slower: its past decides how many fresh pages each call touches.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from statistics import median
from typing import Any

from scipy import stats

from paraformer_bench.study import child
from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Sampled
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.workers.supervise import LocalWorker

CASE = Case.of(
    model="serial",
    execution="loop",
    runtime="eager",
    depth=4,
    width=192,
    batch=1,
    image=224,
    patch=16,
    heads=3,
    branch_depth=1,
    dtype="float32",
    device="cpu",
)

FEWEST_PAIRS = 6
"""An interval of 95% takes six."""

TURN_SECONDS = 0.25

# What somebody would write who wants to time the net with what PyTorch brings along. Its timer
# uses one thread unless told otherwise. One median for every line on stdin.
TIMER = """
import sys
import torch
from torch.utils.benchmark import Timer

from benchmarks.instrument import CASE, TURN_SECONDS
from paraformer_bench.instrument.bench import build_model, make_input
from paraformer_bench.instrument.memory import steady_malloc

if "--plain" not in sys.argv:
    steady_malloc()
device = torch.device("cpu")
with torch.inference_mode():
    net, x = build_model(CASE, device), make_input(CASE, device, 0)
    timer = Timer("net(x)", globals={"net": net, "x": x}, num_threads=torch.get_num_threads())
    for line in sys.stdin:
        timer.timeit(5)  # wakes the processor as long as our sentinel and untimed call do
        print(timer.blocked_autorange(min_run_time=TURN_SECONDS).median, flush=True)
"""


class Theirs:
    """A process that measures with `blocked_autorange` when asked."""

    def __init__(self, plain: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", TIMER, *(["--plain"] if plain else [])],
            cwd=child.ROOT,
            env=child.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def median(self) -> float:
        """Seconds of a call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def measure_pair(pair: int, turns: int, plain: bool) -> tuple[float, float]:
    """Return our median and theirs, in seconds, over the turns of two fresh processes."""
    # No interval is as narrow as this target: every slice takes all of its time.
    seconds = turns * TURN_SECONDS
    protocol = Protocol(rounds=turns, seconds_per_case=seconds, target_relative_error=1e-9)
    ours, theirs = [], []
    timer = Theirs(plain)
    timer.median()  # it has loaded torch before our worker starts
    worker = LocalWorker(
        BlockJob(device="cpu", block=pair, protocol=protocol, seed=pair, groups=[[CASE]])
    )
    pid = worker._process.pid
    try:
        while event := worker.next_event(seconds=120):
            if isinstance(event, Sampled):
                # It has gone on to watch its sentinel: no sample of the case is interrupted.
                os.kill(pid, signal.SIGSTOP)
                ours += event.wall_seconds
                theirs.append(timer.median())
                os.kill(pid, signal.SIGCONT)
    finally:
        ending = worker.close()
        timer.close()
    if len(theirs) < turns:
        sys.exit(f"the worker did not finish: {ending}")
    return median(ours), median(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description="our instrument against torch.utils.benchmark")
    parser.add_argument("--pairs", type=int, default=8, help="fresh processes of each (8)")
    parser.add_argument("--turns", type=int, default=16, help="turns of each in a pair (16)")
    parser.add_argument("--plain", action="store_true", help="their malloc as it starts")
    arguments = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.2f}")
    medians = []
    for pair in range(max(arguments.pairs, FEWEST_PAIRS)):
        medians.append(measure_pair(pair, arguments.turns, arguments.plain))
        print(line(f"pair {pair + 1}", *medians[-1]), flush=True)
    print(line("medians", *map(median, zip(*medians, strict=True))))
    ratios = [ours / theirs for ours, theirs in medians]
    interval: Any = stats.quantile_test(ratios).confidence_interval(0.95)
    print(
        f"median ratio {median(ratios):.3f}, 95% interval {interval.low:.3f} to "
        f"{interval.high:.3f}; load average {os.getloadavg()[0]:.2f}"
    )


def line(what: str, ours: float, theirs: float) -> str:
    ratio = ours / theirs
    return f"{what}: ours {1e3 * ours:.3f} ms, theirs {1e3 * theirs:.3f} ms, ratio {ratio:.3f}"


if __name__ == "__main__":
    main()
