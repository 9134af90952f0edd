"""The rule of `analysis.curve` applied to many complete curves at once.

The arithmetic is that of `analysis.intervals`, with the pairs of all studies side by side as
columns. Only "every pair", "some pair" and Holm's first step are written again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paraformer_bench.analysis.curve import CONFIDENCE, CONSTANT, GROWS, INCONCLUSIVE, MARGIN
from paraformer_bench.analysis.intervals import means, t_quantile

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judgements:
    """What `judge_curve` says about many studies of one curve.

    Attributes:
        verdicts: One verdict a study.
        constant_up_to: Index of the deepest depth to which a study is constant.
        mean: Estimated log ratio, studies x pairs; pairs as `numpy.triu_indices` has them.
        low: One-sided lower bounds of the log ratios.
        high: One-sided upper bounds.
    """

    verdicts: npt.NDArray[np.str_]
    constant_up_to: npt.NDArray[np.intp]
    mean: Array
    low: Array
    high: Array


def judge_many(
    log_medians: Array, margin: float = MARGIN, confidence: float = CONFIDENCE
) -> Judgements:
    """Judge many studies of one curve: studies x blocks x depths, nothing missing."""
    studies, blocks, depths = log_medians.shape
    shallow, deep = np.triu_indices(depths, k=1)
    pairs = len(deep)
    growth = log_medians[:, :, deep] - log_medians[:, :, shallow]
    estimate = means(growth.transpose(1, 0, 2).reshape(blocks, studies * pairs))
    # All have the same degrees of freedom, and the quantile is what takes long.
    half = t_quantile(confidence, np.array([blocks - 1.0])) * estimate.error
    limit = math.log1p(margin)
    mean, low, high, p = (
        column.reshape(studies, pairs)
        for column in (
            estimate.mean,
            estimate.mean - half,
            estimate.mean + half,
            estimate.p_above(limit),
        )
    )
    flat = high < limit
    above = p.min(axis=1) * pairs <= 1 - confidence
    verdicts = np.where(flat.all(axis=1), CONSTANT, np.where(above, GROWS, INCONCLUSIVE))
    steps = np.stack([flat[:, deep == k].all(axis=1) for k in range(1, depths)], axis=1)
    constant_up_to = np.cumprod(steps, axis=1).sum(axis=1)
    return Judgements(verdicts, constant_up_to, mean, low, high)


def exponents(
    log_medians: Array, depths: tuple[int, ...], confidence: float = CONFIDENCE
) -> tuple[Array, Array, Array]:
    """Exponent of every study with its two-sided bounds; nothing missing."""
    x = np.log(np.array(depths))
    x -= x.mean()
    slope = means((log_medians @ x / (x**2).sum()).T)
    half = t_quantile((1 + confidence) / 2, np.array([log_medians.shape[1] - 1.0])) * slope.error
    return slope.mean, slope.mean - half, slope.mean + half
