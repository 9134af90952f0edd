"""Nets whose time is known beforehand, measured and judged through the real command line.

Verdicts are tested on a simulated clock: it runs in the worker's place of the real one, and a
call takes as long as its net says. On the real clock every sample is held against what the call
saw of that clock itself. Neither depends on how busy the machine is; whether real waits get the
right verdicts on a quiet machine is what ``benchmarks/known_truths.py`` asks.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks.known_truths import (
    EXPECTED,
    EXPONENT_TOLERANCE,
    SUITE,
    TIME_TOLERANCE,
    TRUTHS,
    exact_exponent,
    typical_seconds,
)
from paraformer_bench.study.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SIMULATED = f"""
import random

from torch import nn

from paraformer_bench import register_model
from paraformer_bench.instrument import clock

TRUTHS = {TRUTHS}
NOISE = 0.005  # of a block and of a call, standard deviation


class Simulated:
    now = 0.0

    def perf_counter(self):
        self.now += 1e-7  # no clock shows the same time twice
        return self.now


clock.time = Simulated()


class Wait(nn.Module):
    def __init__(self, name, depth):
        super().__init__()
        self.name, self.depth = name, depth
        self.calls = random.Random(0)

    def forward(self, images):
        # Every block times the net on another input.
        block = random.Random(f"{{self.name}} {{self.depth}} {{images[0, 0, 0, 0].item()}}")
        noise = block.gauss(0, NOISE) + self.calls.gauss(0, NOISE)
        clock.time.now += TRUTHS[self.name][self.depth] / 1e3 * (1 + noise)
        return images.mean((2, 3))


for name in TRUTHS:
    register_model(name)(lambda spec, name=name: Wait(name, spec.depth))
"""


@pytest.fixture(scope="module")
def run(cli, files, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], list[Any]]:
    """Records and verdicts of one sweep over all truths."""
    folder = tmp_path_factory.mktemp("truths")
    plugin = files.write(folder / "truths.py", SIMULATED)
    suite = files.write(folder / "truths.toml", SUITE)
    result = cli(
        *(
            "sweep",
            "--profile",
            "none",
            "--device",
            "cpu",
            "--suite",
            suite,
            "--plugin",
            plugin,
            "--out",
            "run",
        ),
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
    exact = exact_exponent(model)
    assert verdict["exponent"]["value"] == pytest.approx(exact, abs=EXPONENT_TOLERANCE)


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
        typical = typical_seconds(records, model, depth)
        assert typical == pytest.approx(milliseconds / 1e3, rel=TIME_TOLERANCE)


def test_time_of_every_block_is_its_own(run) -> None:
    """The simulated noise is there: blocks that agree to the last digit would prove nothing."""
    for case_id in {r.case.id for r in run[0]}:
        assert len({median(r.wall_seconds) for r in run[0] if r.case.id == case_id}) == 4


WITNESS = """
import gc
import os
import time

from torch import nn

from paraformer_bench import register_model

LOG = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
SECONDS = 20e-3


class Witness(nn.Module):
    def forward(self, images):
        scores = images.mean((2, 3))
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + SECONDS:
            pass
        if not gc.isenabled():  # the collector is off in timed calls and nowhere else
            os.write(LOG, f"{{now - start!r}}\\n".encode())
        return scores


@register_model("witness")
def build(spec):
    return Witness()
"""

WITNESS_SUITE = """
[protocol]
blocks = 1
rounds = 2
seconds_per_case = 1
timeout_seconds = 100

[[grid]]
models = "witness"
depth = 1
width = 64
tokens = 17
"""


def test_samples_are_what_the_calls_themselves_saw(cli, files, tmp_path: Path) -> None:
    log = tmp_path / "log"
    plugin = files.write(tmp_path / "witness.py", WITNESS.format(log=str(log)))
    suite = files.write(tmp_path / "witness.toml", WITNESS_SUITE)
    result = cli(
        *(
            "sweep",
            "--profile",
            "none",
            "--device",
            "cpu",
            "--suite",
            suite,
            "--plugin",
            plugin,
            "--out",
            "run",
        ),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    [record] = files.records(tmp_path / "run")
    seen = [float(line) for line in log.read_text().splitlines()]
    # Of calls as slow as a quarter of a round, the one before the samples is left out.
    untimed = len(seen) - len(record.wall_seconds)
    assert untimed in (1, 2)
    first, second = record.rounds
    samples = seen[1 : 1 + first] + seen[len(seen) - second :]
    ratios = [wall / own for wall, own in zip(record.wall_seconds, samples, strict=True)]
    assert min(ratios) >= 1
    assert median(ratios) == pytest.approx(1, abs=TIME_TOLERANCE)
