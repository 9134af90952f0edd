"""Folders as asv leaves them, of histories whose truth is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

COLUMNS = [
    *("result", "params", "version", "started_at", "duration", "stats_ci_99_a"),
    *("stats_ci_99_b", "stats_q_25", "stats_q_75", "stats_number", "stats_repeat"),
    *("samples", "profile"),
]
EXECUTIONS, DEPTHS = ("loop", "vmap", "stacked"), (1, 4, 16, 64)
BLOCKS = 8


def commit_hash(number: int) -> str:
    return f"{number + 1:08x}" + "c" * 32


@dataclass
class AsvFolder:
    """Writes result files as asv 0.6.6 does."""

    path: Path
    machine: str = "box"
    environment: str = "existing-py"
    known: dict[str, Any] = field(default_factory=dict)

    def write(
        self,
        number: int,
        benchmarks: Mapping[str, tuple[str, Mapping[str, Sequence[str]], Sequence[Any]]],
        keep_samples: bool = True,
        **changes: Any,
    ) -> Path:
        """Write one commit; a benchmark is its unit, its parameters and samples of each."""
        folder = self.path / self.machine
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "machine.json").write_text(json.dumps({"machine": self.machine, "version": 1}))
        rows = {}
        for name, (unit, params, every) in benchmarks.items():
            self.known[name] = {
                **{"name": name, "unit": unit, "version": "1"},
                "type": "time" if ".time" in name else "track",
                **{"params": list(params.values()), "param_names": list(params)},
            }
            cells = [_cell(samples) for samples in every]
            assert len(cells) == math.prod(map(len, params.values()))
            rows[name] = [
                [result for result, _ in cells],
                list(params.values()),
                *("1", 0, 1.0, None, None),
                [_quartile(samples, 0.25) for _, samples in cells],
                [_quartile(samples, 0.75) for _, samples in cells],
                [1 if samples else None for _, samples in cells],
                [len(samples) if samples else None for _, samples in cells],
                [samples for _, samples in cells] if keep_samples else None,
            ]
        content = {
            "commit_hash": commit_hash(number),
            "env_name": self.environment,
            "date": 1_700_000_000_000 + number * 1000,
            "params": {"machine": self.machine},
            "python": "3.11",
            "requirements": {},
            "env_vars": {},
            "result_columns": COLUMNS,
            "results": rows,
            "durations": {},
            "version": 2,
        }
        path = folder / f"{commit_hash(number)[:8]}-{self.environment}.json"
        path.write_text(json.dumps(content | changes))
        (self.path / "benchmarks.json").write_text(json.dumps(self.known | {"version": 2}))
        return path


def _cell(samples: Any) -> tuple[Any, list[float] | None]:
    """Result and samples: a number has no samples, None failed, NaN does not apply."""
    if samples is None or isinstance(samples, (int, float)):
        return samples, None
    numbers = [float(sample) for sample in samples]
    return median(numbers), numbers


def _quartile(samples: list[float] | None, share: float) -> float | None:
    return float(np.quantile(samples, share)) if samples else None


def names() -> list[tuple[str, str]]:
    """Parameters of the times of `history`, in asv's order."""
    return list(product(EXECUTIONS, map(str, DEPTHS)))


def history(
    folder: AsvFolder,
    commits: int,
    noise: float = 0.02,
    shifts: Mapping[int, float] | None = None,
    slower: Mapping[int, float] | None = None,
    memory: Mapping[int, float] | None = None,
    parameters: Mapping[int, int] | None = None,
    seed: int = 1,
    **options: Any,
) -> AsvFolder:
    """Write a history of 12 times, 4 memories and a count.

    Args:
        shifts: Commit -> factor of all of its times.
        slower: Commit -> factor of the stacked times from there on: a third of all.
        memory: Commit -> factor of the memory from there on.
        parameters: Commit -> parameters from there on.
    """
    rng = np.random.default_rng(seed)
    levels = np.array([1e-3 * (k + 1) for k in range(len(names()))])
    sizes = np.array([2e8 * (k + 1) for k in range(len(DEPTHS))])
    count = 1000
    for number in range(commits):
        stacked = np.array([execution == "stacked" for execution, _ in names()])
        levels[stacked] *= (slower or {}).get(number, 1.0)
        sizes *= (memory or {}).get(number, 1.0)
        count = (parameters or {}).get(number, count)
        times = levels[:, None] * (shifts or {}).get(number, 1.0)
        times = times * np.exp(noise * rng.standard_normal((len(levels), BLOCKS)))
        peaks = sizes[:, None] * np.exp(0.002 * rng.standard_normal((len(sizes), BLOCKS)))
        depths = {"depth": [str(depth) for depth in DEPTHS]}
        folder.write(
            number,
            {
                "latency.track_time": (
                    "seconds",
                    {"execution": [f"'{name}'" for name in EXECUTIONS], **depths},
                    times.tolist(),
                ),
                "memory.track_peak": ("bytes", depths, peaks.tolist()),
                "counts.track_parameters": ("parameters", {}, [count]),
            },
            **options,
        )
    return folder


class Truths:
    """The functions above, for tests: conftest files are not imported."""

    folder = AsvFolder
    history = staticmethod(history)
    hash = staticmethod(commit_hash)
    names = staticmethod(names)


@pytest.fixture(scope="session")
def truths() -> type[Truths]:
    return Truths


@pytest.fixture
def asv(tmp_path: Path) -> AsvFolder:
    return AsvFolder(tmp_path / "results")
