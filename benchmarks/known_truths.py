"""Does the whole instrument find what is known? Nets that busy-wait, through the command line.

Run as ``python benchmarks/known_truths.py``; it takes about half a minute. Six nets wait a time
that depends on their depth in a known way. One sweep on the CPU measures and judges them; printed
are, for each, verdict, deepest constant depth and exponent against the truth, and the measured
medians against the known times. The exit code is 1 if a verdict is wrong, an exponent is off by
more than 0.05 or a median by more than 2%.

This needs the processor for itself: where a neighbour takes it away, calls really do last longer
than they wait. The tests therefore judge the same nets on a simulated clock.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from paraformer_bench.__main__ import main as paraformer_bench
from paraformer_bench.analysis.medians import block_median
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, VERDICTS, read_records

TRUTHS = {
    "flat": {1: 2.0, 2: 2.0, 4: 2.0, 8: 2.0, 16: 2.0},
    "linear": {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0, 16: 16.0},
    "step": {1: 2.0, 2: 2.0, 4: 2.0, 8: 2.0, 16: 4.0},
    "valley": {1: 2.0, 2: 1.5, 4: 1.2, 8: 1.5, 16: 2.0},
    "late_25": {1: 2.0, 2: 2.0, 4: 2.0, 8: 2.0, 16: 2.5},
    "late_4": {1: 2.0, 2: 2.0, 4: 2.0, 8: 2.0, 16: 2.08},
}
"""Milliseconds of one call, by model and depth."""

EXPECTED = {
    "flat": ("constant", 16),
    "linear": ("grows", 1),
    "step": ("grows", 8),
    # 4 to 8 is a rise of 25%: the curve has left its valley there.
    "valley": ("grows", 4),
    "late_25": ("grows", 8),
    "late_4": ("constant", 16),
}
"""Verdict and `constant_up_to` at a margin of 10%."""

EXPONENT_TOLERANCE = 0.05
TIME_TOLERANCE = 0.02

SUITE = f"""
name = "truths"

[claim]
margin = 0.10

[protocol]
blocks = 4
seconds_per_case = 0.1
target_relative_error = 0.05
timeout_seconds = 60

[[grid]]
models = {list(TRUTHS)}
depth = [1, 2, 4, 8, 16]
width = 64
tokens = 17
"""

PLUGIN = f"""
import time

from torch import nn

from paraformer_bench import register_model

TRUTHS = {TRUTHS}


class Wait(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.idle = nn.Identity()

    def forward(self, images):
        end = time.perf_counter() + self.seconds
        scores = images.mean((2, 3)).tanh()
        # Busy with calls and tensors: after an empty loop the way out of a call is cold, and
        # costs 20 to 80 us (where a neighbour shares the caches) instead of 5.
        while time.perf_counter() < end:
            self.idle(scores).neg()
        return scores


def register(name, milliseconds):
    @register_model(name)
    def build(spec):
        return Wait(milliseconds[spec.depth] / 1e3)


for name, milliseconds in TRUTHS.items():
    register(name, milliseconds)
"""


def exact_exponent(model: str) -> float:
    """Exponent of t ~ L^value that fits the known times."""
    depths, times = zip(*TRUTHS[model].items(), strict=True)
    slope, _ = np.polyfit(np.log(depths), np.log(times), 1)
    return float(slope)


def typical_seconds(records: Sequence[Record], model: str, depth: int) -> float:
    """Geometric mean of the block medians of one case."""
    found = [r for r in records if (r.case.model, r.case.depth) == (model, depth)]
    return math.exp(mean(math.log(block_median(r, "wall")) for r in found))


def worst_time_error(records: Sequence[Record], model: str) -> float:
    """Greatest relative distance of a measured median from the known time."""
    return max(
        abs(typical_seconds(records, model, depth) / (1e-3 * milliseconds) - 1)
        for depth, milliseconds in TRUTHS[model].items()
    )


def sweep(folder: Path) -> tuple[list[Record], list[dict[str, Any]]]:
    """Measure the truths in ``folder`` and return records and verdicts."""
    suite, plugin, run = folder / "truths.toml", folder / "truths.py", folder / "run"
    suite.write_text(SUITE, encoding="utf-8")
    plugin.write_text(PLUGIN, encoding="utf-8")
    files = ["--suite", str(suite), "--plugin", str(plugin), "--out", str(run)]
    code = paraformer_bench(["sweep", "--profile", "none", "--device", "cpu", *files])
    if code:
        sys.exit(f"the sweep ended with code {code}")
    return read_records(run / RECORDS)[0], json.loads((run / VERDICTS).read_text())


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        records, verdicts = sweep(Path(folder))
    row = "{:8}  {:>14}  {:>14}  {:>6}  {:>8}  {:>9}  {}".format
    print()
    print(row("model", "truth", "measured", "truth", "exponent", "times off", ""))
    wrong = 0
    for verdict in verdicts:
        model = verdict["model"]
        measured = verdict["verdict"], verdict["constant_up_to"]
        exponent, exact = verdict["exponent"]["value"], exact_exponent(model)
        off = worst_time_error(records, model)
        good = (
            measured == EXPECTED[model]
            and abs(exponent - exact) <= EXPONENT_TOLERANCE
            and off <= TIME_TOLERANCE
        )
        wrong += not good
        slope, truth = f"{exponent:.3f}", f"{exact:.3f}"
        sign = "ok" if good else "WRONG"
        found = ("{} to {}".format(*one) for one in (EXPECTED[model], measured))
        print(row(model, *found, truth, slope, f"{off:.2%}", sign))
    print(f"{wrong} of {len(TRUTHS)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
