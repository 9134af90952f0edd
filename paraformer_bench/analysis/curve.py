"""The rule that turns the times of one curve into `constant`, `grows` or `inconclusive`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from msgspec import Struct, field

from paraformer_bench.analysis.intervals import Array, Means, holm, means, t_quantile
from paraformer_bench.study import checks
from paraformer_bench.study.errors import UsageError

CONSTANT, GROWS, INCONCLUSIVE = "constant", "grows", "inconclusive"
MARGIN, CONFIDENCE = 0.10, 0.95
"""Defaults of the claim: growth that still counts as constant, and one-sided confidence."""
MOST_BLOCKS = 1000
"""More blocks than this nobody runs: `blocks_to_settle` gives up there."""
_GREATEST = math.log(sys.float_info.max)


class Ratio(Struct, frozen=True):
    """Time at ``depth`` over that at the shallowest; bounds are null without an interval."""

    depth: int
    ratio: float | None
    low: float | None
    high: float | None


class Rise(Struct, frozen=True):
    """Time at depth ``deep`` (``to`` in files) over that at ``shallow`` (``from``), same curve."""

    shallow: int = field(name="from")
    deep: int = field(name="to")
    ratio: float
    low: float | None
    high: float | None


class Exponent(Struct, frozen=True):
    """Exponent of t ~ L^value; the bounds are the two-sided interval over blocks."""

    value: float
    low: float | None
    high: float | None


class CurveJudgement(Struct, frozen=True, kw_only=True):
    """What the ``blocks`` with at least one time say about one curve at the measured ``depths``.

    Every ``low`` and ``high`` of a ratio is a one-sided bound at ``confidence`` by itself: at
    0.95 the two make a two-sided 90% interval. They are not corrected for the number of pairs.

    Attributes:
        verdict: `CONSTANT`, `GROWS` or `INCONCLUSIVE`; ``reason`` is one clause saying why.
        constant_up_to: Deepest depth to which every pair is below the margin.
        ratios: One for every depth; the first is exactly 1.
        worst: The pair of depths with the greatest estimated ratio; null, as the exponent is,
            where no two depths share a block.
        blocks_to_settle: For an inconclusive curve, total blocks that would settle it if means
            and spreads stayed as they are; null if more than `MOST_BLOCKS` or unknown.
    """

    verdict: str
    reason: str
    depths: tuple[int, ...]
    constant_up_to: int
    ratios: tuple[Ratio, ...]
    worst: Rise | None
    exponent: Exponent | None
    blocks: int
    blocks_to_settle: int | None


def judge_curve(
    log_medians: Array,
    depths: Sequence[int],
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
) -> CurveJudgement:
    """Judge one curve by the times of all pairs of its depths, paired by block.

    Constant: for every pair the upper bound of the ratio is below 1 + margin. All must pass, so
    no correction is needed. Grows: some pair's ratio is above 1 + margin with a Holm-adjusted
    p-value of at most 1 - confidence. A pair with fewer than 2 common blocks has no interval, so
    the curve cannot be constant to there. Depths without any time are left out.

    Args:
        log_medians: Logarithms of block medians, blocks x depths; NaN where missing.
        depths: Of the columns, ascending.
        margin: Growth that still counts as constant.
        confidence: One-sided, of every bound.

    Raises:
        UsageError: Margin or confidence out of range, shapes that do not fit, or no time at all.
    """
    check_rule(margin, confidence)
    if log_medians.ndim != 2 or log_medians.shape[1] != len(depths):
        raise UsageError(f"times of shape {log_medians.shape} do not fit {len(depths)} depths")
    if any(deep <= shallow for shallow, deep in pairwise(depths)):
        raise UsageError(f"depths must ascend, not {list(depths)}")
    seen = np.isfinite(log_medians)
    if not seen.any():
        raise UsageError("a curve without any time cannot be judged")
    columns = np.flatnonzero(seen.any(axis=0))
    logs = np.where(seen, log_medians, np.nan)[seen.any(axis=1)][:, columns]
    return _judge_pairs(logs, tuple(depths[column] for column in columns), margin, confidence)


def check_rule(margin: float, confidence: float) -> None:
    """Raise `UsageError` unless margin is in (0, inf) and confidence in (0.5, 1)."""
    checks.number(margin, "margin", 0, math.inf)
    checks.number(confidence, "confidence", 0.5, 1)


def ratio_of(log_ratio: float) -> float | None:
    """Undo the logarithm; null for NaN and for what is beyond the range of a float."""
    return math.exp(log_ratio) if log_ratio < 700 else None


def _judge_pairs(
    logs: Array, depths: tuple[int, ...], margin: float, confidence: float
) -> CurveJudgement:
    shallow, deep = np.triu_indices(len(depths), k=1)
    growth = means(logs[:, deep] - logs[:, shallow])
    limit = math.log1p(margin)
    low, high = growth.bounds(confidence)
    flat = high < limit
    adjusted = holm(growth.p_above(limit))
    rises = [
        # An estimate is never null: the greatest float stands for more, and NaN stays NaN.
        Rise(
            depths[i], depths[j], math.exp(min(mean, _GREATEST)), ratio_of(below), ratio_of(above)
        )
        for i, j, mean, below, above in zip(shallow, deep, growth.mean, low, high, strict=True)
    ]
    steps = [bool(flat[deep == k].all()) for k in range(1, len(depths))]
    ratios = [Ratio(depths[0], 1.0, 1.0, 1.0)]
    for k, rise in enumerate(rises[: len(depths) - 1]):
        estimate = rise.ratio if growth.count[k] else None
        ratios.append(Ratio(rise.deep, estimate, rise.low, rise.high))
    verdict, to_settle = INCONCLUSIVE, None
    if not rises:
        reason = "one measured depth: a curve needs at least two"
    elif flat.all():
        verdict, reason = CONSTANT, f"every pair of depths stays below {1 + margin:g}x"
    elif (adjusted <= 1 - confidence).any():
        first = rises[int(np.nanargmin(adjusted))]
        verdict = GROWS
        reason = f"from depth {first.shallow} to {first.deep} it exceeds {1 + margin:g}x"
    else:
        reason = _why_open(rises, growth, high, margin)
        to_settle = _blocks_to_settle(growth, limit, confidence, len(logs))
    timed = np.isfinite(growth.mean)
    return CurveJudgement(
        verdict=verdict,
        reason=reason,
        depths=depths,
        constant_up_to=depths[steps.index(False) if False in steps else -1],
        ratios=tuple(ratios),
        worst=rises[int(np.nanargmax(growth.mean))] if timed.any() else None,
        exponent=_exponent(logs, depths, confidence),
        blocks=len(logs),
        blocks_to_settle=to_settle,
    )


def _why_open(rises: list[Rise], growth: Means, high: Array, margin: float) -> str:
    few = np.flatnonzero(growth.count < 2)
    if len(few):
        rise, count = rises[few[0]], int(growth.count[few[0]])
        pair = f"depths {rise.shallow} and {rise.deep}"
        return f"no interval: {pair} share {count} of the 2 blocks it needs"
    rise = rises[int(np.argmax(high))]
    span = f"{rise.low:.3f}x to {rise.high:.3f}x" if rise.high else "beyond all bounds"
    return f"depth {rise.shallow} to {rise.deep} is {span}, which {1 + margin:g}x does not decide"


def _exponent(logs: Array, depths: tuple[int, ...], confidence: float) -> Exponent | None:
    logs = logs[np.isfinite(logs).sum(axis=1) >= 2]
    if not len(logs):
        return None
    seen = np.isfinite(logs)
    x = np.where(seen, np.log(np.array(depths)), 0.0)
    centred = np.where(seen, x - (x.sum(axis=1) / seen.sum(axis=1))[:, None], 0.0)
    slopes = (centred * np.where(seen, logs, 0.0)).sum(axis=1) / (centred**2).sum(axis=1)
    slope = means(slopes[:, None])
    value = float(slope.mean[0])
    if len(slopes) < 2:
        return Exponent(value, None, None)
    low, high = slope.bounds((1 + confidence) / 2)
    return Exponent(value, float(low[0]), float(high[0]))


def _blocks_to_settle(growth: Means, limit: float, confidence: float, blocks: int) -> int | None:
    """Smallest total at which every pair passes or Holm's first step rejects.

    New blocks are taken to be complete, so that each adds one to every pair's count.
    """
    if not np.isfinite(growth.error).all():
        return None
    totals = np.arange(blocks + 1, MOST_BLOCKS + 1)
    count = growth.count + (totals - blocks)[:, None]
    error = growth.sd / np.sqrt(count)
    dof = count.astype(np.intp) - 1
    first_step = 1 - (1 - confidence) / len(growth.mean)
    flat = growth.mean + _t_table(confidence)[dof] * error < limit
    above = growth.mean - _t_table(first_step)[dof] * error > limit
    settled = totals[flat.all(axis=1) | above.any(axis=1)]
    return int(settled[0]) if len(settled) else None


@lru_cache(maxsize=32)
def _t_table(probability: float) -> Array:
    """Quantiles of Student's t for 0 (NaN) to `MOST_BLOCKS` degrees of freedom."""
    return t_quantile(probability, np.arange(MOST_BLOCKS + 1, dtype=np.float64))
