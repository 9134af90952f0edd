"""Variances of many cases, each estimated from few blocks, made to help each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from paraformer_bench.analysis.intervals import Means

FEWEST = 5
"""Cases from which on their variances tell of a common one."""


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
    known = np.isfinite(estimates.dof)
    if known.sum() < FEWEST:
        return estimates
    dof, variance = estimates.dof[known], estimates.sd[known] ** 2
    logs = np.log(variance) - digamma(dof / 2) + np.log(dof / 2)
    scatter = logs.var(ddof=1) - polygamma(1, dof / 2).mean()
    # However alike they are, together they know no more than all their blocks do.
    most = dof.sum()
    prior = min(2 * _inverse_trigamma(scatter), most) if scatter > 0 else most
    common = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    sd, total = estimates.sd.copy(), estimates.dof.copy()
    sd[known] = np.sqrt((prior * common + dof * variance) / (prior + dof))
    total[known] = np.minimum(prior + dof, most)
    return replace(estimates, error=sd / np.sqrt(estimates.count), dof=total, sd=sd)


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = ``value``, for the values that occur."""

    def off(log: float) -> float:
        return float(np.log(polygamma(1, np.exp(log))) - np.log(value))

    low, high = -15.0, 15.0
    if off(high) > 0:
        return float(np.exp(high))
    return float(np.exp(low)) if off(low) < 0 else float(np.exp(brentq(off, low, high)))
