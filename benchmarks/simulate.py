"""Studies whose truth is known, as the instrument would record them.

A study is drawn sample by sample: a truth, an offset of each block common to all its cases, a
part of each case in each block that no number of samples removes, samples that hang together
within the block, a slow first sample, and a drift that runs through the whole study in the order
in which workers visit their cases. `records` makes the lines of ``records.jsonl`` of one
study, `log_medians` the numbers that the verdict reads of many at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from paraformer_bench.study.case import Case
from paraformer_bench.study.job import round_order
from paraformer_bench.study.record import Record

Array = npt.NDArray[np.float64]

DEPTHS = (1, 2, 4, 8, 16, 32, 64)
MARGIN = 0.10

TRUTHS: dict[str, tuple[float, ...]] = {
    "flat": (1, 1, 1, 1, 1, 1, 1),
    "margin": (1, 1, 1, 1, 1, 1, 1 + MARGIN),
    "late_4": (1, 1, 1, 1, 1, 1, 1.04),
    "late_25": (1, 1, 1, 1, 1, 1, 1.25),
    "valley": (1, 0.9, 0.8, 0.75, 0.8, 0.9, 1),
    "step": (1, 1, 1, 1, 2, 2, 2),
    "power_0.1": tuple(depth**0.1 for depth in DEPTHS),
    "power_1": DEPTHS,
}
"""Time at each of `DEPTHS`, relative to the shallowest."""

ORDERS = 64
"""Studies share this many different orders of visits: drawing them is what takes long."""

ROUNDS, SAMPLES_A_ROUND = 3, 5
SAMPLES = ROUNDS * SAMPLES_A_ROUND


@dataclass(frozen=True)
class Study:
    """How the times of one curve scatter. All spreads are of natural logarithms of times.

    Attributes:
        noise: Standard deviation of a block median around its truth and its block's offset.
        blocks: Blocks of the study.
        depths: Tested depths.
        heavy: Student's t with 3 degrees of freedom in place of the normal distribution, for
            blocks and samples alike, scaled to the same standard deviation.
        correlation: Of one sample with the next in its block (AR(1)).
        offset: Standard deviation of a block's offset, common to its cases.
        slow_first: By how much the first sample of a block is longer.
        drift: Growth of all times from the start of the study to its end, linear in time.
        others: Further cases that the plan visits side by side with the curve.
        reverse: Visit the cases of every round in the opposite order.
    """

    noise: float
    blocks: int
    depths: tuple[int, ...] = DEPTHS
    heavy: bool = False
    correlation: float = 0.5
    offset: float = 0.20
    slow_first: float = 0.5
    drift: float = 0.03
    others: int = 0
    reverse: bool = False


def draw(study: Study, studies: int, seed: int) -> Array:
    """Logarithms of times of a flat truth: studies x blocks x depths x samples.

    The same seed gives the same noise whatever the study's drift, reversal and slow first sample.
    """
    rng = np.random.default_rng(seed)
    shape = (studies, study.blocks, len(study.depths))
    offsets = study.offset * rng.standard_normal(shape[:2])
    inside = _median_spread(study.correlation, study.heavy)
    cases = np.sqrt(1 - inside**2) * _unit(rng, study.heavy, shape)
    samples = np.empty((*shape, SAMPLES))
    step = np.sqrt(1 - study.correlation**2)
    state = _unit(rng, study.heavy, shape)
    for k in range(SAMPLES):
        samples[..., k] = state
        state = study.correlation * state + step * _unit(rng, study.heavy, shape)
    samples += cases[..., None]
    samples *= study.noise
    samples += offsets[..., None, None]
    samples[..., 0] += np.log1p(study.slow_first)
    if study.drift:
        samples += np.log1p(study.drift * _moments(study, studies, seed))
    return samples


def log_medians(samples: Array, truth: Sequence[float] | None = None) -> Array:
    """Logarithms of block medians: studies x blocks x depths.

    The number of samples is odd, so the median of logarithms is the logarithm of the median, and
    a truth multiplies it as it multiplies every sample.
    """
    middle = samples.shape[-1] // 2
    medians = np.partition(samples, middle, axis=-1)[..., middle]
    return medians if truth is None else medians + np.log(np.array(truth, dtype=np.float64))


def records(samples: Array, study: Study, truth: Sequence[float]) -> list[Record]:
    """The records of one study (blocks x depths x samples) of which 1 is a millisecond."""
    return [
        Record(
            case=case,
            block=block,
            order=order,
            status="ok",
            wall_seconds=(1e-3 * truth[order] * np.exp(samples[block, order])).tolist(),
            rounds=[SAMPLES_A_ROUND] * ROUNDS,
        )
        for block in range(study.blocks)
        for order, case in enumerate(curve(study.depths))
    ]


def curve(depths: Sequence[int], model: str = "paraformer") -> list[Case]:
    """The cases of one curve."""
    first = Case.of(
        model=model,
        execution="stacked",
        runtime="eager",
        depth=1,
        width=192,
        batch=1,
        image=224,
        patch=16,
        heads=3,
        branch_depth=1,
        dtype="float32",
        device="cpu",
    )
    return [first.replace(depth=depth) for depth in depths]


def visits(study: Study, seed: int) -> Array:
    """When the plan samples each depth: blocks x depths x rounds, as shares of the study.

    The order is the instrument's own, `job.round_order`; every visit lasts equally long.
    """
    mine = curve(study.depths)
    cases = mine + curve(range(1, study.others + 1), model="serial")
    place = {case: k for k, case in enumerate(cases)}
    slots = study.blocks * ROUNDS * len(cases)
    times = np.empty((study.blocks, len(cases), ROUNDS))
    for block in range(study.blocks):
        for turn in range(ROUNDS):
            order = round_order(cases, seed, block, turn)
            if study.reverse:
                order.reverse()
            start = (block * ROUNDS + turn) * len(cases)
            for slot, case in enumerate(order):
                times[block, place[case], turn] = (start + slot) / slots
    return times[:, : len(mine)]


def _moments(study: Study, studies: int, seed: int) -> Array:
    """When every sample is taken, as a share of its study."""
    orders = np.stack([visits(study, seed * ORDERS + k) for k in range(min(studies, ORDERS))])
    starts = orders[np.arange(studies) % len(orders)]
    slots = study.blocks * ROUNDS * (len(study.depths) + study.others)
    within = (np.arange(SAMPLES_A_ROUND) + 0.5) / (SAMPLES_A_ROUND * slots)
    moments = starts[..., None] + within
    return moments.reshape(*moments.shape[:3], SAMPLES)


def _unit(rng: np.random.Generator, heavy: bool, shape: tuple[int, ...]) -> Array:
    """Noise of standard deviation 1."""
    return rng.standard_t(3, shape) / np.sqrt(3) if heavy else rng.standard_normal(shape)


@lru_cache(maxsize=16)
def _median_spread(correlation: float, heavy: bool) -> float:
    """Standard deviation of the median of a block's samples of standard deviation 1."""
    rng = np.random.default_rng(1)
    state = _unit(rng, heavy, (100_000,))
    samples = []
    for _ in range(SAMPLES):
        samples.append(state)
        step = np.sqrt(1 - correlation**2)
        state = correlation * state + step * _unit(rng, heavy, state.shape)
    return float(np.median(samples, axis=0).std())
