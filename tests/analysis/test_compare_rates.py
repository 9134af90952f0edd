"""How often `compare` finds what is not there and misses what is, through the real path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paraformer_bench.analysis.compare import compare
from paraformer_bench.study.case import Case
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run, RunInfo

pytestmark = pytest.mark.slow

STUDIES = 1_000
CASES = [
    Case.of(
        model=model,
        execution=execution,
        runtime="eager",
        depth=depth,
        width=192,
        batch=1,
        image=224,
        patch=16,
        heads=3,
        branch_depth=1,
        dtype="float32",
        device="cpu",
    )
    for model, execution in (("serial", "loop"), ("paraformer", "loop"), ("paraformer", "stacked"))
    for depth in (1, 2, 4, 8, 16)
]
"""Those of the suite `quick` on a CPU."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_normal(shape)


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.standard_t(3, shape) / np.sqrt(3)


def uneven(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Cases from a half to twice as noisy as said."""
    return rng.standard_normal(shape) * np.geomspace(0.5, 2, shape[1])


def shared(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """All cases of a block are slow together, four fifths of the variance."""
    return np.sqrt(0.8) * rng.standard_normal((shape[0], 1)) + np.sqrt(0.2) * rng.standard_normal(
        shape
    )


def make_run(logs: np.ndarray, cases: Sequence[Case], sentinel: np.ndarray | None = None) -> Run:
    records = [
        Record(
            case=case,
            block=block,
            order=k,
            status="ok",
            wall_seconds=[float(np.exp(logs[block, k]))],
        )
        for block in range(len(logs))
        for k, case in enumerate(cases)
    ]
    for record in records if sentinel is not None else ():
        record.telemetry["sentinel_seconds"] = [float(np.exp(sentinel[record.block]))]
    return Run(Path("run"), RunInfo(), records, [])


def contrasts(
    noise: float,
    draw: Draw = normal,
    blocks: tuple[int, int] = (8, 8),
    cases: Sequence[Case] = CASES,
    slowdown: float = 0.0,
    studies: int = STUDIES,
) -> list[list[str]]:
    """Verdicts of every case in every study; in B the last case is slower."""
    rng = np.random.default_rng(42)
    found = []
    for _ in range(studies):
        a, b = (noise * draw(rng, (count, len(cases))) for count in blocks)
        b[:, -1] += np.log1p(slowdown)
        result = compare(make_run(a, cases), make_run(b, cases))
        found.append([contrast.verdict for contrast in result])
    return found


@pytest.mark.parametrize("draw", [normal, heavy, uneven, shared])
def test_runs_that_are_alike_are_hardly_ever_called_different(draw: Draw) -> None:
    found = contrasts(0.02, draw)
    different = sum(verdict in ("SLOWER", "FASTER") for study in found for verdict in study)
    assert different <= 0.01 * STUDIES * len(CASES)
    # And no run of them more often than in 5% (the exact 99.9% limit of that).
    wrong = sum(bool({"SLOWER", "FASTER"} & set(study)) for study in found)
    assert wrong <= stats.binom.ppf(0.999, STUDIES, 0.05)


@pytest.mark.parametrize(("noise", "blocks"), [(0.10, (8, 8)), (0.05, (5, 12)), (0.005, (3, 3))])
def test_nor_are_they_with_more_noise_or_fewer_blocks(
    noise: float, blocks: tuple[int, int]
) -> None:
    found = contrasts(noise, blocks=blocks, studies=400)
    wrong = sum(bool({"SLOWER", "FASTER"} & set(study)) for study in found)
    assert wrong <= stats.binom.ppf(0.999, 400, 0.05)


def test_nor_with_a_single_case() -> None:
    found = contrasts(0.05, cases=CASES[:1])
    wrong = sum(study != ["SAME"] and study != ["UNCLEAR"] for study in found)
    assert wrong <= stats.binom.ppf(0.999, STUDIES, 0.01)


def test_one_case_among_fifteen_that_is_five_percent_slower_is_found() -> None:
    found = contrasts(0.02, slowdown=0.05)
    hit = sum(study[-1] == "SLOWER" for study in found)
    assert hit >= 0.95 * STUDIES
    others = Counter(verdict for study in found for verdict in study[:-1])
    assert others["SLOWER"] + others["FASTER"] <= 0.01 * STUDIES * (len(CASES) - 1)


def with_sentinel(slowdown: float, machine: float, noise: float = 0.005) -> list[list[str]]:
    """Verdicts where all of B's machine is slower by ``machine``, and its last case by more."""
    rng = np.random.default_rng(43)
    found = []
    for _ in range(400):
        runs = []
        for scale, more in ((0.0, 0.0), (np.log1p(machine), np.log1p(slowdown))):
            logs = scale + 0.02 * rng.standard_normal((8, len(CASES)))
            logs[:, -1] += more
            runs.append(make_run(logs, CASES, scale + noise * rng.standard_normal(8)))
        found.append([contrast.verdict for contrast in compare(*runs)])
    return found


def test_a_slower_machine_is_not_fifteen_slower_cases() -> None:
    found = with_sentinel(slowdown=0.0, machine=0.3)
    different = sum(verdict in ("SLOWER", "FASTER") for study in found for verdict in study)
    assert different <= 0.01 * len(found) * len(CASES)


def test_a_slower_case_is_found_beside_a_sentinel() -> None:
    hit = sum(study[-1] == "SLOWER" for study in with_sentinel(slowdown=0.05, machine=0.0))
    assert hit >= 0.92 * 400  # the sentinel's own noise, 0.5%, costs a little
