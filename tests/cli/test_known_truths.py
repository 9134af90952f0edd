"""Nets whose time is known beforehand, judged through the real command line."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from paraformer_bench.record import Record

pytestmark = pytest.mark.slow

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

PLUGIN = """
import time

from torch import nn

from paraformer_bench import register_model

TRUTHS = {truths!r}


class Wait(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.idle = nn.Identity()

    def forward(self, images):
        end = time.perf_counter() + self.seconds
        scores = images.mean((2, 3)).tanh()
        # The wait is busy for its last half millisecond only. A process that spins all the time
        # uses up its turn on a core that others want too, and loses the core in mid-call; one
        # that has slept is let in at once. Either way no call ends before `end`.
        time.sleep(max(end - time.perf_counter() - 5e-4, 0))
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


@pytest.fixture(scope="module")
def run(cli, files, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], list[Any]]:
    """Records and verdicts of one sweep over all truths."""
    folder = tmp_path_factory.mktemp("truths")
    plugin = files.write(folder / "truths.py", PLUGIN.format(truths=TRUTHS))
    suite = files.write(folder / "truths.toml", SUITE)
    result = cli(
        *("sweep", "--device", "cpu", "--suite", suite, "--plugin", plugin, "--out", "run"),
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    verdicts = json.loads((folder / "run" / "verdicts.json").read_text())
    return files.records(folder / "run"), verdicts


@pytest.fixture(params=TRUTHS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_verdict(run, model: str) -> None:
    [verdict] = [v for v in run[1] if v["model"] == model]
    assert verdict["depths"] == list(TRUTHS[model])
    assert (verdict["verdict"], verdict["constant_up_to"]) == EXPECTED[model]
    assert verdict["basis"] == "wall"
    assert verdict["blocks"] == 4


def test_exponent(run, model: str) -> None:
    [verdict] = [v for v in run[1] if v["model"] == model]
    depths, times = zip(*TRUTHS[model].items(), strict=True)
    exact, _ = np.polyfit(np.log(depths), np.log(times), 1)
    assert verdict["exponent"]["value"] == pytest.approx(exact, abs=0.05)


def test_worst_pair(run, model: str) -> None:
    [verdict] = [v for v in run[1] if v["model"] == model]
    truth = TRUTHS[model]
    greatest = max(truth[b] / truth[a] for a in truth for b in truth if a < b)
    assert verdict["worst"]["ratio"] == pytest.approx(greatest, rel=0.03)
    for ratio in verdict["ratios"]:
        assert ratio["ratio"] == pytest.approx(truth[ratio["depth"]] / truth[1], rel=0.03)


def test_times(run, model: str) -> None:
    for depth, milliseconds in TRUTHS[model].items():
        records = [r for r in run[0] if (r.case.model, r.case.depth) == (model, depth)]
        assert sorted(r.block for r in records) == list(range(4))
        assert {r.status for r in records} == {"ok"}
        medians = [np.median(r.wall_seconds) for r in records]
        typical = math.exp(np.mean(np.log(medians)))
        assert typical == pytest.approx(milliseconds / 1e3, rel=0.02)
        # No call can be shorter than its wait: a shorter sample is a broken clock.
        assert min(min(r.wall_seconds) for r in records) >= milliseconds / 1e3
