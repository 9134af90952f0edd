"""A made-up run folder, and what the benchmarks make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asv")

from suites import runs

CURVES = (("serial", "loop"), ("paraformer", "loop"), ("paraformer", "stacked"))
SENTINEL = [0.004, 0.002, 0.003]

MakeRun = Callable[..., Path]


def seconds(model: str, execution: str, depth: int, block: int) -> float:
    """Serial nets are linear in depth, stacked branches take the square root; blocks differ."""
    power = 0.5 if execution == "stacked" else 1.0
    return 0.001 * depth**power * (1 + 0.01 * block)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write the run folder that a sweep of the asv suite on ``device`` would leave."""

    def write(
        device: str = "cpu",
        runtimes: tuple[str, ...] = ("eager",),
        change: Callable[[dict[str, Any]], None] = lambda record: None,
    ) -> Path:
        folder = tmp_path / "run"
        folder.mkdir()
        lines, verdicts = [], []
        parts = [(depth, 1, "inference") for depth in runs.DEPTHS]
        parts += [(runs.SHALLOW, runs.BATCH, "inference"), (runs.SHALLOW, 1, "train")]
        # Blocks in disorder: a resumed run may write them so.
        for block in reversed(range(runs.BLOCKS)):
            for (model, execution), runtime, part in product(CURVES, runtimes, parts):
                record = _record(model, execution, runtime, part, device, block)
                change(record)
                lines.append(json.dumps(record))
        for (model, execution), runtime in product(CURVES, runtimes):
            curve = _place(model, execution, runtime, 1, device, "inference")
            verdicts.append(curve | {"basis": "wall", "constant_up_to": 4})
            verdicts.append(curve | {"basis": "device", "constant_up_to": 16})
        (folder / "records.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "verdicts.json").write_text(json.dumps(verdicts), encoding="utf-8")
        return folder

    return write


def _place(
    model: str, execution: str, runtime: str, batch: int, device: str, mode: str
) -> dict[str, Any]:
    return {
        "model": model,
        "execution": execution,
        "runtime": runtime,
        "width": 192,
        "batch": batch,
        "dtype": "float32",
        "device": device,
        "mode": mode,
    }


def _record(
    model: str,
    execution: str,
    runtime: str,
    part: tuple[int, int, str],
    device: str,
    block: int,
) -> dict[str, Any]:
    depth, batch, mode = part
    typical = seconds(model, execution, depth, block) * batch * (3 if mode == "train" else 1)
    # An odd number of calls, of which the median is the typical one and the mean is not.
    wall = [typical, 9 * typical, 0.9 * typical]
    return {
        "case": _place(model, execution, runtime, batch, device, mode) | {"depth": depth},
        "block": block,
        "status": "ok",
        "reason": None,
        "wall_seconds": wall,
        "device_seconds": None if device == "cpu" else [0.5 * s for s in wall],
        "peak_bytes": 1_000_000 * depth + block,
        "parameter_bytes": 40_000 * depth,
        "flops": 500 * depth,
        "operations": 16 if execution == "stacked" else 13 * depth,
        "telemetry": {"sentinel_seconds": SENTINEL},
    }
