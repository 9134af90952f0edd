"""Is `stacked` worth having? It against `loop`, and both against the serial net, on this CPU.

Run as ``python benchmarks/stacked.py``; it takes about a minute. The three nets of one shape take
turns, in random order, with one untimed call and a few timed ones each, so that whatever else the
machine does hits all of them. Every repeat gives one ratio of medians; printed are the median of
these ratios and its distribution-free 95% interval.

Targets: `stacked` at least 3x faster than `loop` at width 64, 17 tokens, depth 16, on two cores;
nowhere in the quick suite more than 15% slower.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from scipy import stats

from paraformer_bench.case import Case, default_heads
from paraformer_bench.measure.bench import build_model, make_input
from paraformer_bench.registry import EXECUTIONS
from paraformer_bench.suite import load_suite

CPU = torch.device("cpu")
MODELS = ("paraformer", "paraformer_code")
SMALL = {"depth": 16, "width": 64, "image": 64}
CALLS = 5

Call = Callable[[], object]


def shapes() -> Iterator[Case]:
    """The small shape of the first target, then every shape of the quick suite."""
    yield from (case(model, **SMALL) for model in MODELS)
    for grid in load_suite("quick").grids:
        for model in MODELS:
            for width in grid.width:
                for depth in grid.depth:
                    yield case(model, depth=depth, width=width, image=224)


def case(model: str, *, depth: int, width: int, image: int) -> Case:
    return Case(
        model=model,
        execution="loop",
        runtime="eager",
        depth=depth,
        width=width,
        batch=1,
        image=image,
        patch=16,
        heads=default_heads(width),
        branch_depth=1,
        dtype="float32",
        device="cpu",
    ).check()


def call_of(case: Case) -> Call:
    x = make_input(case, CPU, seed=0)
    run = EXECUTIONS.get(case.execution).factory(build_model(case, CPU), x)
    return lambda: run(x)


def turn(call: Call) -> float:
    """Median of a few calls in a row, after one that brings its weights back into the caches."""
    call()
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def measure(case: Case, repeats: int) -> dict[str, list[float]]:
    """Seconds of each net, one median a repeat."""
    calls = {
        "serial": call_of(replace(case, model="serial")),
        "loop": call_of(case),
        "stacked": call_of(replace(case, execution="stacked")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        turn(call)
    for _ in range(repeats):
        for name in random.sample(list(calls), len(calls)):
            seconds[name].append(turn(calls[name]))
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    interval: Any = stats.quantile_test(ratios).confidence_interval(0.95)
    return f"{median(ratios):.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="stacked against loop and serial on this CPU")
    parser.add_argument("--repeats", type=int, default=25, help="ratios for each shape (25)")
    repeats = max(parser.parse_args().repeats, 6)
    row = "{:16}{:>6}{:>6}{:>10}{:>11}  {:23}  {:23}".format
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.2f}")
    titles = ("loop ms", "stacked ms", "stacked / loop (95%)", "stacked / serial (95%)")
    print(row("model", "width", "depth", *titles))
    with torch.inference_mode():
        for shape in shapes():
            times = measure(shape, repeats)
            loop, stacked = (f"{1e3 * median(times[name]):.3f}" for name in ("loop", "stacked"))
            ratios = (ratio(times["stacked"], times[name]) for name in ("loop", "serial"))
            print(row(shape.model, shape.width, shape.depth, loop, stacked, *ratios), flush=True)
    print(f"load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
