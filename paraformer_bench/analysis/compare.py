"""Two runs case by case: is B slower than A, faster, or the same?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from paraformer_bench.analysis.curve import ratio_of
from paraformer_bench.analysis.intervals import (
    Array,
    Estimates,
    Means,
    holm,
    means,
    moderate,
    welch,
)
from paraformer_bench.analysis.medians import log_median, sentinel_seconds
from paraformer_bench.study import checks
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import STATUSES, Record
from paraformer_bench.study.run_folder import Run

THRESHOLD = 0.03
"""Change that counts, if nothing else is said: three standard errors of a ratio at 2% noise and 8
blocks in each run, so that a slowdown of 5% is found and noise is not."""

_SURE = 0.005
"""Largest p-value of a single case, uncorrected, that is called different: with one case or two,
the correction for many alone would let 5% of comparisons cry wolf."""

FASTER, SLOWER, SAME, UNCLEAR = "FASTER", "SLOWER", "SAME", "UNCLEAR"
ONLY_A, ONLY_B = "ONLY_A", "ONLY_B"

_MACHINE = "it changed, but not beyond what the sentinel, a net that never changes, did too"

Columns = Sequence[Sequence[float]]
Booleans = npt.NDArray[np.bool_]


class NothingShared(UsageError):
    """Two runs have no measured case in common."""


@dataclass(frozen=True)
class Contrast:
    """One case in two runs.

    Attributes:
        case_id: The case.
        verdict: `FASTER`, `SLOWER`, `SAME`, `UNCLEAR`, `ONLY_A` or `ONLY_B`; of B against A.
        basis: ``device`` where both runs have it, else ``wall``; null for a case of one run.
        ratio: Time in B over time in A; null where either has none.
        low: One-sided lower bound of the ratio, uncorrected; null without an interval.
        high: One-sided upper bound; null likewise.
        p_slower: Holm-adjusted p-value against a ratio of at most 1.
        p_faster: Holm-adjusted p-value against a ratio of at least 1.
        seconds_a: Geometric mean of A's block medians; null where it has none.
        seconds_b: The same of B.
        blocks_a: Blocks of A with a time.
        blocks_b: Blocks of B with a time.
        reason: Why there is no clear answer; empty where there is one.
    """

    case_id: str
    verdict: str
    basis: str | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p_slower: float | None = None
    p_faster: float | None = None
    seconds_a: float | None = None
    seconds_b: float | None = None
    blocks_a: int = 0
    blocks_b: int = 0
    reason: str = ""


def compare(
    run_a: Run, run_b: Run, threshold: float = THRESHOLD, confidence: float = 0.95
) -> list[Contrast]:
    """Compare every case of two runs; A's cases in A's order, then those only B has.

    What both runs skipped is left out.

    The block medians of the two runs are independent samples, compared by Welch's t on their
    logarithms, with the variances of each run's cases moderated (`moderated`). SLOWER: B/A is
    above 1 for sure (a p-value of at most 0.5%, and of at most (1 - confidence) / 2 after Holm's
    correction over the cases), and the estimate is beyond 1 + threshold. FASTER: below 1 for sure,
    and beyond 1 / (1 + threshold). Wall times must be so relative to the sentinel of their own
    record too, there without the correction: a machine that has changed is no change of the case.
    Between runs that are alike the chance of calling anything different is so at most
    1 - confidence. SAME: neither, and the uncorrected one-sided bounds both lie within the
    threshold.

    Raises:
        NothingShared: The runs share no measured case.
        UsageError: Threshold or confidence is out of range.
    """
    checks.number(threshold, "threshold", 0, math.inf)
    checks.number(confidence, "confidence", 0.5, 1)
    cases_a, cases_b = _by_case(run_a.records), _by_case(run_b.records)
    for case_id in cases_a.keys() & cases_b.keys():
        if all(r.status == "skipped" for r in (*cases_a[case_id], *cases_b[case_id])):
            del cases_a[case_id], cases_b[case_id]
    shared = [case_id for case_id in cases_a if case_id in cases_b]
    if not shared:
        raise NothingShared(f"{run_a.folder} and {run_b.folder} share no case that was measured")
    pairs = [(cases_a[case_id], cases_b[case_id]) for case_id in shared]
    judged = dict(zip(shared, _contrasts(shared, pairs, threshold, confidence), strict=True))
    contrasts = [judged.get(case_id) or Contrast(case_id, ONLY_A) for case_id in cases_a]
    return contrasts + [Contrast(case_id, ONLY_B) for case_id in cases_b if case_id not in judged]


class _Changes(NamedTuple):
    """What a test of all shared cases says of each."""

    means_a: Means
    means_b: Means
    change: Estimates
    p_slower: Array
    p_faster: Array
    slower: Booleans
    faster: Booleans
    sure: Booleans


def _test(logs_a: Columns, logs_b: Columns, threshold: float, alpha: float) -> _Changes:
    """Test every case for a change: for sure, and then whether the estimate is beyond.

    Args:
        logs_a: Observations of each case in A.
        logs_b: The same in B.
        threshold: Change that counts.
        alpha: Largest Holm-adjusted p-value in one direction; 1 for no correction.
    """
    means_a, means_b = moderate(_column_means(logs_a)), moderate(_column_means(logs_b))
    change = welch(means_a, means_b)
    limit = math.log1p(threshold)
    above, below = change.p_above(0.0), change.p_below(0.0)
    p_slower, p_faster = holm(above), holm(below)
    up = (p_slower <= alpha) & (above <= _SURE)
    down = (p_faster <= alpha) & (below <= _SURE)
    slower, faster = up & (change.mean > limit), down & (change.mean < -limit)
    return _Changes(means_a, means_b, change, p_slower, p_faster, slower, faster, up | down)


def _contrasts(
    case_ids: Sequence[str],
    pairs: Sequence[tuple[list[Record], list[Record]]],
    threshold: float,
    confidence: float,
) -> list[Contrast]:
    bases = [_basis(*pair) for pair in pairs]
    logs = [
        [_logs(side, basis) for side in pair] for pair, basis in zip(pairs, bases, strict=True)
    ]
    relative = [
        _relative(pair, basis) or held
        for pair, basis, held in zip(pairs, bases, logs, strict=True)
    ]
    limit = math.log1p(threshold)
    raw, steadied = (
        _test([a for a, _ in some], [b for _, b in some], threshold, alpha)
        # Half of the confidence for each direction. The second test can only take back what the
        # first one says, so that it needs no correction.
        for some, alpha in ((logs, (1 - confidence) / 2), (relative, 1.0))
    )
    low, high = raw.change.bounds(confidence)
    contrasts = []
    for k, case_id in enumerate(case_ids):
        reason = ""
        if raw.slower[k] and steadied.slower[k]:
            verdict = SLOWER
        elif raw.faster[k] and steadied.faster[k]:
            verdict = FASTER
        elif -limit < low[k] and high[k] < limit:
            verdict = SAME
        else:
            verdict = UNCLEAR
            reason = _why_unclear(*pairs[k], *map(len, logs[k]))
            if raw.slower[k] or raw.faster[k]:
                reason = _MACHINE
            elif raw.sure[k]:
                reason = "there is a change for sure, but perhaps none beyond the threshold"
        contrasts.append(
            Contrast(
                case_id,
                verdict,
                bases[k],
                ratio_of(raw.change.mean[k]),
                ratio_of(low[k]),
                ratio_of(high[k]),
                _known(raw.p_slower[k]),
                _known(raw.p_faster[k]),
                ratio_of(raw.means_a.mean[k]),
                ratio_of(raw.means_b.mean[k]),
                len(logs[k][0]),
                len(logs[k][1]),
                reason,
            )
        )
    return contrasts


def _basis(a: Sequence[Record], b: Sequence[Record]) -> str:
    return "device" if _logs(a, "device") and _logs(b, "device") else "wall"


def _relative(pair: tuple[list[Record], list[Record]], basis: str) -> list[list[float]] | None:
    """Logarithms of wall times over the sentinel's, both runs; None where one lacks the sentinel.

    The sentinel is a wall clock's: it tells nothing of device time.
    """
    if basis == "device":
        return None
    found = []
    for records in pair:
        timed = [r for r in records if not math.isnan(log_median(r, basis))]
        sentinels = [sentinel_seconds(record) for record in timed]
        if None in sentinels:
            return None
        found.append(
            [
                log_median(record, basis) - math.log(sentinel)
                for record, sentinel in zip(timed, sentinels, strict=True)
                if sentinel is not None
            ]
        )
    return found


def _by_case(records: Sequence[Record]) -> dict[str, list[Record]]:
    cases: dict[str, list[Record]] = {}
    for record in records:
        cases.setdefault(record.case.id, []).append(record)
    return cases


def _logs(records: Sequence[Record], basis: str) -> list[float]:
    logs = (log_median(record, basis) for record in records)
    return [value for value in logs if not math.isnan(value)]


def _column_means(columns: Sequence[Sequence[float]]) -> Means:
    """Means of columns of unequal length."""
    rows = list(zip_longest(*columns, fillvalue=math.nan))
    return means(np.array(rows).reshape(len(rows), len(columns)))


def _why_unclear(
    records_a: Sequence[Record],
    records_b: Sequence[Record],
    blocks_a: int,
    blocks_b: int,
) -> str:
    for name, records, blocks in (("A", records_a, blocks_a), ("B", records_b, blocks_b)):
        worst = max(records, key=lambda record: STATUSES.index(record.status))
        if not blocks:
            return f"no times in {name}: {worst.reason or worst.status}"
        if blocks < 2:
            return f"one block in {name}: an interval needs at least 2"
    return "the interval reaches across a threshold: more blocks would narrow it"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


_FEWEST_CASES = 5
_SHIFT = 0.02
"""All cases together moving by more than this is worth a word."""


@dataclass(frozen=True)
class Shift:
    """What moved in all of a run.

    Attributes:
        cases: Median over the shared cases of time in B over time in A; null with few of them.
        sentinel: The same of the small net that never changes; null where a run has none.
    """

    cases: float | None
    sentinel: float | None

    @property
    def words(self) -> str:
        """Say that the machine may have changed; empty where nothing suggests it."""
        parts = []
        if self.cases is not None and abs(math.log(self.cases)) > _SHIFT:
            parts.append(f"over all cases the median ratio is {self.cases:.3f}")
        if self.sentinel is not None and abs(math.log(self.sentinel)) > _SHIFT:
            parts.append(f"the sentinel, a net that never changes, takes {self.sentinel:.3f}x")
        if not parts:
            return ""
        return f"{' and '.join(parts)}: the machine may have changed, rather than the code"


def shift(contrasts: Sequence[Contrast], run_a: Run, run_b: Run) -> Shift:
    """Look for what moved all of B against A."""
    ratios = [contrast.ratio for contrast in contrasts if contrast.ratio is not None]
    cases = median(ratios) if len(ratios) >= _FEWEST_CASES else None
    before, after = _sentinel(run_a.records), _sentinel(run_b.records)
    return Shift(cases, after / before if before and after else None)


def _sentinel(records: Sequence[Record]) -> float | None:
    """Median over the records of the sentinel's time around each."""
    known = [seconds for record in records if (seconds := sentinel_seconds(record)) is not None]
    return median(known) if known else None
