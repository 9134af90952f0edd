"""Student's t on logarithms, Holm's correction, moderated variances: what verdicts rest on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtr, stdtrit

Array = npt.NDArray[np.float64]

RESOLUTION = 1e-12
"""Smallest standard deviation of a log time that is believed. Rounding alone makes 1e-15, so
observations that are all alike get an interval of no visible width, never a division by zero."""

FEWEST = 5
"""Cases from which on their variances tell of a common one."""


@dataclass(frozen=True)
class Estimates:
    """Estimated logarithms of ratios, one per column; NaN where there is no observation.

    ``error`` is their standard error with ``dof`` degrees of freedom, NaN where there are too few
    observations for one.
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
        return np.asarray(stdtr(self.dof, (limit - self.mean) / self.error), dtype=np.float64)

    def p_below(self, limit: float) -> Array:
        """P-value of each true value being at least ``limit``: small says it is below."""
        return np.asarray(stdtr(self.dof, (self.mean - limit) / self.error), dtype=np.float64)


@dataclass(frozen=True)
class Means(Estimates):
    """Means of ``count`` independent observations of standard deviation ``sd``, one per column.

    With fewer than 2 there is no ``sd`` (NaN) and no standard error.
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


def moderate(estimates: Means) -> Means:
    """Shrink the variance of every column towards a common one; fewer than `FEWEST` stay.

    The true variances are taken to scatter around a common one as a scaled inverse chi-square with
    d0 degrees of freedom. The moments of the logarithms of the estimated ones tell both. Each
    variance then becomes (d0 s0^2 + d s^2) / (d0 + d), with d0 + d degrees of freedom. Cases that
    are equally noisy so share what they know; cases that differ keep most of their own.

    Source: G. K. Smyth, Linear models and empirical Bayes methods for assessing differential
    expression in microarray experiments, Statistical Applications in Genetics and Molecular
    Biology 3 (2004), sections 4 and 6.
    """
    several = np.isfinite(estimates.dof)
    if several.sum() < FEWEST:
        return estimates
    dof, variance = estimates.dof[several], estimates.sd[several] ** 2
    logs = np.log(variance) - digamma(dof / 2) + np.log(dof / 2)
    scatter = logs.var(ddof=1) - polygamma(1, dof / 2).mean()
    # However alike they are, together they know no more than all their blocks do.
    most = dof.sum()
    prior = min(2 * _inverse_trigamma(scatter), most) if scatter > 0 else most
    common = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    sd, total = estimates.sd.copy(), estimates.dof.copy()
    sd[several] = np.sqrt((prior * common + dof * variance) / (prior + dof))
    total[several] = np.minimum(prior + dof, most)
    return replace(estimates, error=sd / np.sqrt(estimates.count), dof=total, sd=sd)


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = ``value``, for the values that occur."""

    def off(log: float) -> float:
        return float(np.log(polygamma(1, np.exp(log))) - np.log(value))

    low, high = -15.0, 15.0
    if off(high) > 0:
        return float(np.exp(high))
    return float(np.exp(low)) if off(low) < 0 else float(np.exp(brentq(off, low, high)))
