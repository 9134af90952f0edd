"""Student's t on logarithms, and Holm's correction: the arithmetic under every verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Array = npt.NDArray[np.float64]

RESOLUTION = 1e-12
"""Smallest standard deviation of a log time that is believed. Rounding alone makes 1e-15, so
observations that are all alike get an interval of no visible width, never a division by zero."""


@dataclass(frozen=True)
class Estimates:
    """Estimated logarithms of ratios, one per column.

    Attributes:
        mean: Estimate; NaN where there is no observation.
        error: Its standard error; NaN where there are too few observations for one.
        dof: Degrees of freedom of ``error``; NaN likewise.
    """

    mean: Array
    error: Array
    dof: Array

    def bounds(self, confidence: float) -> tuple[Array, Array]:
        """Lower and upper bound, each one-sided at ``confidence``; NaN where there is none."""
        half = t_quantile(confidence, self.dof) * self.error
        return self.mean - half, self.mean + half

    def p_above(self, limit: float) -> Array:
        """P-value of each true value being at most ``limit``: small says it is above."""
        return upper_tail((self.mean - limit) / self.error, self.dof)

    def p_below(self, limit: float) -> Array:
        """P-value of each true value being at least ``limit``: small says it is below."""
        return upper_tail((limit - self.mean) / self.error, self.dof)


@dataclass(frozen=True)
class Means(Estimates):
    """Means of independent observations, one per column.

    Attributes:
        count: Observations behind each mean; with fewer than 2 there is no standard error.
        sd: Standard deviation of one observation; NaN with fewer than 2.
    """

    count: Array
    sd: Array


def means(observations: Array) -> Means:
    """Summarise the columns of an observations x columns array; NaN stands for missing."""
    seen = np.isfinite(observations)
    count = seen.sum(axis=0).astype(np.float64)
    some = np.where(count >= 1, count, np.nan)
    dof = np.where(count >= 2, count - 1, np.nan)
    mean = np.where(seen, observations, 0.0).sum(axis=0) / some
    squares = np.where(seen, observations - mean, 0.0) ** 2
    sd = np.maximum(np.sqrt(squares.sum(axis=0) / dof), RESOLUTION)
    return Means(mean, sd / np.sqrt(some), dof, count, sd)


def welch(a: Means, b: Means) -> Estimates:
    """Differences b - a of the means of two independent samples of unequal variance.

    Source: B. L. Welch, The generalization of Student's problem when several different
    population variances are involved, Biometrika 34 (1947).
    """
    variance_a, variance_b = a.error**2, b.error**2
    variance = variance_a + variance_b
    dof = variance**2 / (variance_a**2 / a.dof + variance_b**2 / b.dof)
    return Estimates(b.mean - a.mean, np.sqrt(variance), dof)


def t_quantile(probability: float, dof: Array) -> Array:
    """Quantile of Student's t; NaN where ``dof`` is NaN."""
    return np.asarray(stdtrit(dof, probability), dtype=np.float64)


def upper_tail(t: Array, dof: Array) -> Array:
    """Probability that Student's t exceeds ``t``; NaN where ``t`` or ``dof`` is NaN."""
    return np.asarray(stdtr(dof, -t), dtype=np.float64)


def holm(p_values: Array) -> Array:
    """Holm's step-down adjusted p-values of one family of tests.

    Rejecting where the result is at most alpha keeps the chance of any false rejection in the
    family at most alpha. NaN stands for a hypothesis that was not tested and does not count.

    Source: S. Holm, A simple sequentially rejective multiple test procedure,
    Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    ordered = tested[np.argsort(p_values[tested], kind="stable")]
    steps = p_values[ordered] * np.arange(len(ordered), 0, -1)
    adjusted[ordered] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
