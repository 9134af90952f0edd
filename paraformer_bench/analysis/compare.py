"""Two runs case by case: is B slower than A, faster, or the same?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

import numpy as np

from paraformer_bench.analysis.curve import ratio_of
from paraformer_bench.analysis.intervals import Estimates, Means, holm, means, moderate, welch
from paraformer_bench.analysis.medians import log_median, sentinel_seconds, worst_of
from paraformer_bench.study import checks
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

THRESHOLD = 0.03
"""Change that counts, if nothing else is said: three standard errors of a ratio at 2% noise and 8
blocks in each run, so that a slowdown of 5% is found and noise is not."""

_SURE = 0.005
"""Largest p-value of a single case, uncorrected, that is called different: with one case or two,
the correction for many alone would let 5% of comparisons cry wolf."""

FASTER, SLOWER, SAME, UNCLEAR = "FASTER", "SLOWER", "SAME", "UNCLEAR"
ONLY_A, ONLY_B = "ONLY_A", "ONLY_B"

_FEWEST_CASES = 5
_SHIFT = 0.02
"""All cases together moving by more than this is worth a word."""
_SENTINEL = "the sentinel, a net that never changes"


class NothingShared(UsageError):
    """Two runs have no measured case in common."""


@dataclass(frozen=True)
class Contrast:
    """One case in two runs: ``verdict``, one of the names above, is of B against A.

    Attributes:
        basis: ``device`` where both runs have it, else ``wall``; null for a case of one run.
        ratio: Time in B over time in A; null where either has none.
        low: One-sided lower bound of the ratio, uncorrected; null without an interval.
        high: One-sided upper bound; null likewise.
        p_slower: Holm-adjusted p-value against a ratio of at most 1.
        p_faster: Holm-adjusted p-value against a ratio of at least 1.
        seconds_a: Geometric mean of A's block medians; null where it has none.
        blocks_a: Blocks of A with a time.
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


@dataclass(frozen=True)
class _Pair:
    """A case in both runs: its records, and what was observed in each block.

    ``logs`` are of its times, ``steadied`` those over the sentinel's where both runs have it.
    """

    case_id: str
    records: tuple[list[Record], list[Record]]
    basis: str
    logs: tuple[list[float], list[float]]
    steadied: tuple[list[float], list[float]]


def compare(
    run_a: Run, run_b: Run, threshold: float = THRESHOLD, confidence: float = 0.95
) -> list[Contrast]:
    """Compare every case of two runs; A's cases in A's order, then those only B has.

    What both runs skipped is left out.

    The block medians of the two runs are independent samples, compared by Welch's t on their
    logarithms, with the variances of each run's cases moderated (`moderate`). SLOWER: B/A is
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
    pairs = [
        _pair(case_id, a, cases_b[case_id]) for case_id, a in cases_a.items() if case_id in cases_b
    ]
    if not pairs:
        raise NothingShared(f"{run_a.folder} and {run_b.folder} share no case that was measured")
    judged = {c.case_id: c for c in _contrasts(pairs, threshold, confidence)}
    contrasts = [judged.get(case_id) or Contrast(case_id, ONLY_A) for case_id in cases_a]
    return contrasts + [Contrast(case_id, ONLY_B) for case_id in cases_b if case_id not in judged]


def _contrasts(pairs: Sequence[_Pair], threshold: float, confidence: float) -> list[Contrast]:
    before, after, change = _change([pair.logs for pair in pairs])
    _, _, steadied = _change([pair.steadied for pair in pairs])
    low, high = change.bounds(confidence)
    limit = math.log1p(threshold)
    above, below = change.p_above(0.0), change.p_below(0.0)
    p_slower, p_faster = holm(above), holm(below)
    alpha = (1 - confidence) / 2  # half for each direction
    up = (p_slower <= alpha) & (above <= _SURE)
    down = (p_faster <= alpha) & (below <= _SURE)
    slower, faster = up & (change.mean > limit), down & (change.mean < -limit)
    # What is said of steadied times can only take this back, so that it needs no correction.
    stays_slower = (steadied.p_above(0.0) <= _SURE) & (steadied.mean > limit)
    stays_faster = (steadied.p_below(0.0) <= _SURE) & (steadied.mean < -limit)
    same = (-limit < low) & (high < limit)
    kinds = [slower & stays_slower, faster & stays_faster, same]
    verdicts = np.select(kinds, [SLOWER, FASTER, SAME], UNCLEAR).tolist()
    contrasts = []
    for k, pair in enumerate(pairs):
        reason = ""
        if verdicts[k] == UNCLEAR:
            reason = _why_unclear(pair)
            if slower[k] or faster[k]:
                reason = f"it changed, but not beyond what {_SENTINEL}, did too"
            elif up[k] or down[k]:
                reason = "there is a change for sure, but perhaps none beyond the threshold"
        contrasts.append(
            Contrast(
                pair.case_id,
                verdicts[k],
                pair.basis,
                ratio_of(change.mean[k]),
                ratio_of(low[k]),
                ratio_of(high[k]),
                None if math.isnan(p_slower[k]) else float(p_slower[k]),
                None if math.isnan(p_faster[k]) else float(p_faster[k]),
                ratio_of(before.mean[k]),
                ratio_of(after.mean[k]),
                len(pair.logs[0]),
                len(pair.logs[1]),
                reason,
            )
        )
    return contrasts


def _pair(case_id: str, a: list[Record], b: list[Record]) -> _Pair:
    basis, logs = "device", (_logs(a, "device"), _logs(b, "device"))
    if not all(logs):
        basis, logs = "wall", (_logs(a, "wall"), _logs(b, "wall"))
    steadied = logs
    if basis == "wall":  # the sentinel is a wall clock's: it tells nothing of device time
        over_a, over_b = _over_sentinel(a), _over_sentinel(b)
        if over_a is not None and over_b is not None:
            steadied = over_a, over_b
    return _Pair(case_id, (a, b), basis, logs, steadied)


def _change(columns: Sequence[tuple[list[float], list[float]]]) -> tuple[Means, Means, Estimates]:
    """Means over the blocks of A and of B for each case, of moderated variance, and B - A."""
    a, b = (moderate(_column_means(side)) for side in zip(*columns, strict=True))
    return a, b, welch(a, b)


def _column_means(columns: Sequence[Sequence[float]]) -> Means:
    """Means of columns of unequal length."""
    rows = list(zip_longest(*columns, fillvalue=math.nan))
    return means(np.array(rows).reshape(len(rows), len(columns)))


def _by_case(records: Sequence[Record]) -> dict[str, list[Record]]:
    cases: dict[str, list[Record]] = {}
    for record in records:
        cases.setdefault(record.case.id, []).append(record)
    return cases


def _logs(records: Sequence[Record], basis: str) -> list[float]:
    logs = (log_median(record, basis) for record in records)
    return [value for value in logs if not math.isnan(value)]


def _over_sentinel(records: Sequence[Record]) -> list[float] | None:
    """Logarithms of wall times over the sentinel's; None where a timed record has no sentinel."""
    logs = []
    for record in records:
        log, sentinel = log_median(record, "wall"), sentinel_seconds(record)
        if math.isnan(log):
            continue
        if sentinel is None:
            return None
        logs.append(log - math.log(sentinel))
    return logs


def _why_unclear(pair: _Pair) -> str:
    for name, records, logs in zip("AB", pair.records, pair.logs, strict=True):
        if not logs:
            worst = worst_of(records)
            return f"no times in {name}: {worst.reason or worst.status}"
        if len(logs) < 2:
            return f"one block in {name}: an interval needs at least 2"
    return "the interval reaches across a threshold: more blocks would narrow it"


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
            parts.append(f"{_SENTINEL}, takes {self.sentinel:.3f}x")
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
    times = [seconds for record in records if (seconds := sentinel_seconds(record)) is not None]
    return median(times) if times else None
