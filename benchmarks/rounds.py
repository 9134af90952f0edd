"""What do rounds do for the suite over commits on a machine that is not quiet?

Run as ``python -m benchmarks.rounds``; it takes about three minutes. Nine nets are measured in 8
blocks on one thread, twice: with 2 rounds, and with as many as the suite has. Meanwhile two
neighbours work for up to two seconds, pause as long, and so on. Printed is by how much a net
differs from block to block, what all nets of a block have in common taken out: as a standard
deviation of the logarithm, in the mean over the nets.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import exp, log
from pathlib import Path
from statistics import fmean, median, stdev

from suites import runs
from suites.rounds import split, steady

FEW = 2
_GRID = """
[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
runtimes = ["eager"]
depth = [1, 4, 8]
width = 192
"""

Times = dict[str, dict[int, list[float]]]
"""Medians of rounds by case and block."""


def neighbour(seed: int) -> None:
    """Work and pause in turns, until killed."""
    draw = random.Random(seed)
    while True:
        until = time.monotonic() + draw.uniform(0.2, 2)
        while time.monotonic() < until:
            sum(range(10_000))
        time.sleep(draw.uniform(0.2, 2))


@contextmanager
def neighbours(number: int = 2) -> Iterator[None]:
    """Have so many at work meanwhile."""
    started = [multiprocessing.Process(target=neighbour, args=(n,)) for n in range(number)]
    for one in started:
        one.start()
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.join()


def measure(rounds: int, folder: Path) -> Times:
    """Sweep the nine nets."""
    suite = folder / f"{rounds}.toml"
    text = runs.suite_text([], []).replace(f"rounds = {runs.ROUNDS}", f"rounds = {rounds}")
    suite.write_text(text + _GRID, encoding="utf-8")
    out = folder / str(rounds)
    options = ("--suite", str(suite), "--device", "cpu", "--out", str(out), "--profile", "none")
    code, said = runs._command("sweep", *options)
    if code:
        raise SystemExit(said)
    found: Times = {}
    for line in (out / "records.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        times = split(record["wall_seconds"], record["rounds"])
        found.setdefault(record["case_id"], {})[record["block"]] = times
    return found


def spread(times: Mapping[object, Mapping[int, float]]) -> float:
    """Standard deviation from block to block without what all cases share, mean over cases."""
    apart = {
        case: {b: log(t) - median(map(log, blocks.values())) for b, t in blocks.items()}
        for case, blocks in times.items()
    }
    every = sorted({b for blocks in apart.values() for b in blocks})
    shared = {b: median(blocks[b] for blocks in apart.values() if b in blocks) for b in every}
    return fmean(stdev(y - shared[b] for b, y in blocks.items()) for blocks in apart.values())


def plain(times: Times) -> dict[str, dict[int, float]]:
    """Of every block the median of its rounds."""
    return {
        case: {b: exp(median(map(log, rounds))) for b, rounds in blocks.items()}
        for case, blocks in times.items()
    }


def main() -> int:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, two neighbours")
    with tempfile.TemporaryDirectory() as lost:
        for rounds in (FEW, runs.ROUNDS):
            with neighbours():
                times = measure(rounds, Path(lost))
            print(
                f"{rounds} rounds: plain medians {spread(plain(times)):.1%}, "
                f"steadied {spread(steady(times)):.1%}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
