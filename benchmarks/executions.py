"""Is an execution worth having? All of them and all runtimes against the eager loop, on this CPU.

Run as ``python benchmarks/executions.py`` (about three minutes, most of it compiling) for three
shapes, or with ``--quick`` for every shape of the quick suite without the compiler (a minute). All
ways of running one net, and the serial net, take turns in random order, with one untimed call and
a few timed ones each, so that whatever else the machine does hits all of them. Every repeat gives
one ratio of medians; printed are the median of these and its distribution-free 95% interval.

Targets: `stacked` at least 3x faster than `loop` at width 64, 17 tokens, depth 16, on two cores;
nowhere in the quick suite more than 15% slower.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from statistics import median
from typing import Any

import torch
from scipy import stats

from paraformer_bench.instrument.bench import build_model, make_input
from paraformer_bench.study.case import Case, default_heads
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, RUNTIMES
from paraformer_bench.study.suite import load_suite

CPU = torch.device("cpu")
CALLS = 5
LOOP, SERIAL = ("loop", "eager"), ("serial", "eager")

Call = Callable[[], object]
Method = tuple[str, str]


def chosen_shapes() -> Iterator[Case]:
    """Small, the paper's, and the paper's at a larger batch."""
    yield case("paraformer", depth=16, width=64, image=64)
    yield case("paraformer", depth=8, width=192, image=224)
    yield case("paraformer", depth=4, width=192, image=224, batch=8)


def quick_shapes() -> Iterator[Case]:
    """The small shape, then every shape of the quick suite, for both forms of Para-Former."""
    for model in ("paraformer", "paraformer_code"):
        yield case(model, depth=16, width=64, image=64)
        for grid in load_suite("quick").grids:
            for width, depth in product(grid.width, grid.depth):
                yield case(model, depth=depth, width=width, image=224)


def case(model: str, *, depth: int, width: int, image: int, batch: int = 1) -> Case:
    return Case.of(
        model=model,
        execution="loop",
        runtime="eager",
        depth=depth,
        width=width,
        batch=batch,
        image=image,
        patch=16,
        heads=default_heads(width),
        branch_depth=1,
        dtype="float32",
        device="cpu",
    ).check()


def calls_of(shape: Case, runtimes: list[str]) -> dict[Method, Call]:
    """Every way of running the net that this machine can take, and the serial net."""
    executions = [
        e.name for e in EXECUTIONS.traits().values() if "cpu" in e.devices and not e.spread
    ]
    calls = {}
    for method in product(executions, runtimes):
        try:
            calls[method] = call_of(shape.replace(execution=method[0], runtime=method[1]))
        except Unsupported as reason:
            print(f"{' '.join(method)}: {reason}")
    calls[SERIAL] = call_of(shape.replace(model="serial"))
    return calls


def call_of(shape: Case) -> Call:
    x = make_input(shape, CPU, seed=0)
    run = EXECUTIONS.get(shape.execution).factory(build_model(shape, CPU), x)
    call = RUNTIMES.get(shape.runtime).factory(run, x)
    return lambda: call(x)


def turn(call: Call) -> float:
    """Median of a few calls in a row, after one that brings its weights back into the caches."""
    call()
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


def measure(calls: dict[Method, Call], repeats: int) -> dict[Method, list[float]]:
    """Seconds of each method, one median a repeat."""
    seconds: dict[Method, list[float]] = {method: [] for method in calls}
    for call in calls.values():
        turn(call)
    for _ in range(repeats):
        for method in random.sample(list(calls), len(calls)):
            seconds[method].append(turn(calls[method]))
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    interval: Any = stats.quantile_test(ratios).confidence_interval(0.95)
    return f"{median(ratios):.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="executions and runtimes against the eager loop")
    parser.add_argument("--repeats", type=int, default=25, help="ratios for each shape (25)")
    parser.add_argument("--quick", action="store_true", help="the quick suite's shapes, eager")
    arguments = parser.parse_args()
    repeats = max(arguments.repeats, 6)
    runtimes = [e.name for e in RUNTIMES.traits().values() if "cpu" in e.devices]
    if arguments.quick:
        runtimes = ["eager"]
    row = "{:16}{:>6}{:>7}{:>6}{:>6}  {:17}{:>9}  {:23}  {:23}".format
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.2f}")
    titles = ("model", "width", "tokens", "batch", "depth", "method", "ms")
    print(row(*titles, "to loop eager (95%)", "to serial eager (95%)"))
    warnings.filterwarnings("ignore", "There is a performance drop")
    with torch.inference_mode():
        for shape in quick_shapes() if arguments.quick else chosen_shapes():
            seconds = measure(calls_of(shape, runtimes), repeats)
            spec = shape.spec
            where = (shape.model, spec.width, spec.tokens, shape.batch, shape.depth)
            for method, times in seconds.items():
                ratios = (ratio(times, seconds[base]) for base in (LOOP, SERIAL))
                print(row(*where, " ".join(method), f"{1e3 * median(times):.3f}", *ratios))
    print(f"load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
