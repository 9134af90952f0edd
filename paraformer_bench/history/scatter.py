"""From block medians to one value a commit, and how far each of these can be believed.

All values are logarithms (or plain values, for what can be zero or negative); arrays are series x
commits, or series x commits x blocks, with NaN for what is missing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma

from paraformer_bench.analysis.intervals import Array, Means, moderate

Booleans = npt.NDArray[np.bool_]

FEWEST_BLOCKS = 3
"""With fewer a value has no scatter that could be believed."""
FEWEST_TOGETHER = 5
"""Series from which on the median over them tells how fast the machine was."""
FINEST = 1e-3
"""Smallest standard error that is believed. Memory often is the same page for page in all blocks
of a commit, and a page more in all blocks of the next."""
ALONE = 0.10
"""Scatter from run to run of times that too few others stand beside to tell how fast the machine
was: such runs were up to 30% apart."""
PLAIN = 0.05
"""Scatter from run to run of values that can be zero, such as the exponent of a curve of times."""
_CALM = 0.262
"""As far as a machine may move and still be taken to be slower for all cases alike: 30%."""
_UNEVEN = 0.5
_TRIM = 0.25
_OWN = 6.0
"""Degrees of freedom with which what all cells tell of one's variance stands against its own."""
_WILDER = 1.25
_MOST_CORRECTED = 1.5
_FAR = 3.0
"""What lies farther from the median than this many standard deviations, as half of the series tell
them, is a change of its own: it takes no part in what the others have in common."""
_MIDDLE = 0.4549
"""Median of the square of a normal variable."""


def same_blocks(blocks: Array, paired: Booleans | bool) -> Array:
    """Take out of each block what all series of its commit have in common there.

    A worker visits all cases, so a burst of a few seconds hits many of them in the same block.
    Only series with all blocks of their commit take part, and those whose blocks are ``paired``
    (series x commits): theirs stand in the order in which they were measured.
    """
    common, taken = _common(blocks, paired)
    return np.asarray(blocks - np.where(taken[..., None], common, 0.0), dtype=np.float64)


def restlessness(blocks: Array, paired: Booleans) -> Array:
    """Variance of the machine's speed from block to block, one a commit; 0 if it is not known."""
    common, taken = _common(blocks, paired)
    spread = _mean((common - _mean(common, axis=1)[:, None]) ** 2, axis=1)
    return np.asarray(np.where(taken.any(axis=0), spread, 0.0), dtype=np.float64)


def _common(blocks: Array, paired: Booleans | bool) -> tuple[Array, Booleans]:
    """What most series have in common, commits x blocks, and which series take part where."""
    counts = np.isfinite(blocks).sum(axis=2)
    full = (counts == counts.max(axis=0)) & (counts > 0) & paired
    apart = np.where(full[..., None], blocks - median(blocks, 2)[..., None], np.nan)
    common = median(apart, 0)
    common -= median(common, 1)[:, None]
    return common, full & (full.sum(axis=0) >= FEWEST_TOGETHER)


def trimmed(blocks: Array) -> tuple[Array, Array, Array]:
    """Return trimmed mean, its squared standard error and degrees of freedom.

    The lowest and highest quarter of the blocks are left out of the mean and pulled in for its
    error, so that one or two blocks that a neighbour slowed say little. Cells with fewer than
    `FEWEST_BLOCKS` are NaN.

    Source: K. K. Yuen, The two-sample trimmed t for unequal population variances,
    Biometrika 61 (1974).
    """
    ordered = np.sort(blocks, axis=2)  # NaN comes last
    count = np.isfinite(ordered).sum(axis=2)
    cut = (_TRIM * count).astype(np.intp)
    place = np.arange(blocks.shape[2])
    inside = (place >= cut[..., None]) & (place < (count - cut)[..., None])
    kept = np.where(count >= FEWEST_BLOCKS, count - 2 * cut, np.nan)
    mean = np.where(inside, ordered, 0.0).sum(axis=2) / kept
    last = np.maximum(count - cut - 1, 0)[..., None]
    low = np.take_along_axis(ordered, cut[..., None], axis=2)
    high = np.take_along_axis(ordered, last, axis=2)
    pulled = np.where(place < count[..., None], np.clip(ordered, low, high), 0.0)
    centre = pulled.sum(axis=2) / np.maximum(count, 1)
    squares = np.where(place < count[..., None], pulled - centre[..., None], 0.0) ** 2
    error = squares.sum(axis=2) / (kept * (kept - 1))
    return mean, error, kept - 1


def steadied(error: Array, dof: Array) -> tuple[Array, Array]:
    """Let squared standard errors of all cells help each other; return them and series' dof.

    That of a cell is taken to be one of its series times one of its commit (some benchmarks are
    noisier, and at some commits the machine was); both from means of logarithms, so that a few
    wild ones count little. The factor of a commit is never below 1. The cell's own error then
    joins with its own degrees of freedom.
    """
    floor = np.maximum(error, FINEST**2)
    # Mean of the logarithm of a chi-square over its degrees of freedom.
    logs = np.log(floor) - digamma(dof / 2) + np.log(dof / 2)
    commit: Array = np.zeros(error.shape[1])
    series = _mean(logs, axis=1)
    if len(error) >= FEWEST_TOGETHER:
        for _ in range(3):
            commit = _mean(logs - series[:, None], axis=0)
            series = _mean(logs - commit, axis=1)
        above = np.nan_to_num(commit - median(commit, 0))
        commit = np.asarray(np.maximum(above, 0.0), dtype=np.float64)
        series = _mean(logs - commit, axis=1)
    # The mean of such logarithms varies as the logarithm of one chi-square with so many degrees of
    # freedom would; those of trimmed means vary by a quarter more.
    count = np.nan_to_num(2 / (_WILDER * polygamma(1, dof / 2))).sum(axis=1)
    count[~np.isfinite(series) | (count == 0)] = np.nan
    sd = np.exp(series / 2)
    pooled = moderate(Means(sd, sd, count, np.ones_like(count), sd))
    expected = pooled.sd[:, None] ** 2 * np.exp(commit)
    # The correction above is that of a chi-square, which these errors are only nearly.
    ratios = floor / expected
    seen = np.isfinite(ratios)
    if seen.any():
        expected *= np.clip(ratios[seen].mean(), 1.0, _MOST_CORRECTED)
    joined = (_OWN * expected + dof * floor) / (_OWN + dof)
    # A cell whose few blocks happen to agree is no better than the others.
    most = np.maximum(np.maximum(joined, expected), FINEST**2)
    return np.asarray(most, dtype=np.float64), pooled.dof


def common_shift(values: Array, levels: Array, counts: Array) -> Array:
    """Return how far each commit lies above the levels in most series: what the machine did.

    A level that a single commit holds lies where its commit does and says nothing.
    """
    apart = np.where(counts > 1, values - levels, np.nan)
    told = np.isfinite(apart).sum(axis=0) >= FEWEST_TOGETHER
    middle = median(apart, 0)
    spread = median(np.abs(apart - middle), 0) / np.sqrt(_MIDDLE)
    most = np.where(np.abs(apart - middle) <= _FAR * spread, apart, np.nan)
    return np.asarray(np.where(told, median(most, 0), 0.0), dtype=np.float64)


def run_scatter(values: Array, variances: Array, together: Booleans) -> tuple[Array, float]:
    """Variance that each commit adds beyond what its blocks explain, and about its dof.

    Each commit is compared with the next. Where most series differ by more than their errors, the
    machine did not slow all cases alike. What lies far off by the median of all is a change of its
    own and left out. ``values`` are without what most have in common.

    A commit whose times stand ``together`` adds as much as is usual, or more: what scatters on
    both sides of it is its own, while a change of the code scatters on one side. So the smaller
    side counts; the first and the last commit have one side only. Values that share no machine
    speed, such as memory, add the same everywhere, from the median gap, the lower one of two: a
    change of the code may move all series at once, at fewer than half of the commits. With a
    single gap nothing is known of it.
    """
    fewest = FEWEST_TOGETHER if together.any() else 1
    steps = np.diff(values, axis=1) ** 2
    expected = variances[:, 1:] + variances[:, :-1]
    told = np.isfinite(steps).sum(axis=0) >= fewest
    each = np.where(told, _beyond(steps, expected), np.nan)
    every = _beyond(steps[:, told].reshape(-1, 1), expected[:, told].reshape(-1, 1))
    usual = float(np.nan_to_num(every[0])) / 2 if told.any() else 0.0
    smaller = np.fmin(np.append(np.nan, each), np.append(each, np.nan))
    own = np.maximum(np.nan_to_num(smaller - usual), usual)
    alike = _lower_median(each) / 2 if np.isfinite(each).sum() >= 2 else 0.0
    dof = max(float(np.isfinite(steps[:, told]).sum()) / 2, 1.0)
    return np.where(together, own, alike), dof


def _beyond(squares: Array, expected: Array) -> Array:
    """Variance to add to what is expected of the squares, in each column, far ones left out."""
    beyond = np.maximum(median(squares / _MIDDLE - expected, 0), 0.0)
    # The fewer tell of the median, the farther it is off.
    far = _FAR * (1 + 3 / np.maximum(np.isfinite(squares).sum(axis=0), 1))
    near = squares <= far**2 * (expected + beyond)
    return np.maximum(_mean(np.where(near, squares - expected, np.nan), axis=0), 0.0)


def joined_dof(blocks: Array, blocks_dof: Array, own: Array, own_dof: float) -> Array:
    """Degrees of freedom of the variance that blocks and runs together make, one a series.

    Source: F. E. Satterthwaite, An approximate distribution of estimates of variance components,
    Biometrics Bulletin 2 (1946).

    Args:
        blocks: Squared errors from the blocks, series x commits.
        blocks_dof: Their degrees of freedom, one a series; NaN where there are none.
        own: Variance of each commit beyond that.
        own_dof: Degrees of freedom of ``own``.
    """
    share = np.nan_to_num(_mean(own / (blocks + own), axis=1))
    dof = np.where(np.isfinite(blocks_dof), blocks_dof, 1.0)
    return np.asarray(1 / ((1 - share) ** 2 / dof + share**2 / own_dof), dtype=np.float64)


def unevenness(shift: Array, sentinel: Array | None) -> Array:
    """Variance of each commit's times because its machine was not slow but overrun.

    A machine that is slower by a third is slower by about as much for all. One on which others
    have taken the cores is ten times as slow for some cases, and as fast as ever for others. A
    sentinel tells it better than what most times did, the ``shift``: these may have become slower.
    """
    apart = np.abs(shift - _lower_median(shift))
    if sentinel is not None and np.isfinite(sentinel).any():
        own = np.abs(sentinel - _lower_median(sentinel))
        apart = np.where(np.isfinite(own), own, apart)
    return np.asarray((_UNEVEN * np.maximum(apart - _CALM, 0.0)) ** 2, dtype=np.float64)


def median(values: Array, axis: int) -> Array:
    """Median of what is not NaN, and NaN where nothing is: many times as fast as numpy's."""
    ordered = np.sort(values, axis=axis)  # NaN comes last
    count = np.expand_dims(np.isfinite(ordered).sum(axis=axis), axis)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis)
    high = np.take_along_axis(ordered, count // 2 % ordered.shape[axis], axis)
    return np.asarray(((low + high) / 2).squeeze(axis), dtype=np.float64)


def _lower_median(values: Array) -> float:
    ordered = np.sort(values[np.isfinite(values)])
    return float(ordered[(len(ordered) - 1) // 2])


def _mean(values: Array, axis: int) -> Array:
    """Mean without NaN; NaN where there is nothing."""
    seen = np.isfinite(values)
    count = seen.sum(axis=axis)
    total = np.where(seen, values, 0.0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)
