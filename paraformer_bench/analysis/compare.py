"""Two runs case by case: is B slower than A, faster, or the same?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median

import numpy as np

from paraformer_bench.analysis.curve import CONFIDENCE, ratio_of
from paraformer_bench.analysis.intervals import Estimates, Means, holm, means, moderate, welch
from paraformer_bench.analysis.medians import grouped, log_median, sentinel_seconds, worst_of
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
_SENTINEL = "the sentinel, a net that never changes,"

_Observed = tuple[list[float], list[float]]
"""Logarithms of block medians in A and in B."""


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


def compare(run_a: Run, run_b: Run, threshold: float = THRESHOLD) -> list[Contrast]:
    """Compare every case of two runs; A's cases in A's order, then those only B has.

    What both runs skipped is left out.

    The block medians of the two runs are independent samples, compared by Welch's t on their
    logarithms, with the variances of each run's cases moderated (`moderate`). SLOWER: B/A is
    above 1 for sure (a p-value of at most 0.5%, and of at most 2.5% after Holm's correction over
    the cases), and the estimate is beyond 1 + threshold. FASTER: below 1 for sure, and beyond
    1 / (1 + threshold). Wall times must be so relative to the sentinel of their own record too,
    there without the correction: a machine that has changed is no change of the case. Between
    runs that are alike the chance of calling anything different is so at most 5%. SAME: neither,
    and the uncorrected one-sided bounds both lie within the threshold.

    Raises:
        NothingShared: The runs share no measured case.
        UsageError: The threshold is out of range.
    """
    checks.number(threshold, "threshold", 0, math.inf)
    cases_a, cases_b = (
        grouped(run.records, lambda record: record.case.id) for run in (run_a, run_b)
    )
    for case_id in cases_a.keys() & cases_b.keys():
        if all(r.status == "skipped" for r in (*cases_a[case_id], *cases_b[case_id])):
            del cases_a[case_id], cases_b[case_id]
    pairs = {
        case_id: (a, cases_b[case_id]) for case_id, a in cases_a.items() if case_id in cases_b
    }
    if not pairs:
        raise NothingShared(f"{run_a.folder} and {run_b.folder} share no case that was measured")
    judged = {contrast.case_id: contrast for contrast in _contrasts(pairs, threshold)}
    contrasts = [judged.get(case_id) or Contrast(case_id, ONLY_A) for case_id in cases_a]
    return contrasts + [Contrast(case_id, ONLY_B) for case_id in cases_b if case_id not in judged]


def _contrasts(
    pairs: Mapping[str, tuple[list[Record], list[Record]]], threshold: float
) -> list[Contrast]:
    bases, logs, over_sentinel = zip(*(_observed(*pair) for pair in pairs.values()), strict=True)
    before, after, change = _change(logs)
    _, _, steadied = _change(over_sentinel)
    low, high = change.bounds(CONFIDENCE)
    limit = math.log1p(threshold)
    above, below = change.p_above(0.0), change.p_below(0.0)
    p_slower, p_faster = holm(above), holm(below)
    alpha = (1 - CONFIDENCE) / 2  # half for each direction
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
    for k, (case_id, pair) in enumerate(pairs.items()):
        reason = ""
        if verdicts[k] == UNCLEAR:
            reason = _why_unclear(pair, logs[k])
            if slower[k] or faster[k]:
                reason = f"it changed, but not beyond what {_SENTINEL} did too"
            elif up[k] or down[k]:
                reason = "there is a change for sure, but perhaps none beyond the threshold"
        contrasts.append(
            Contrast(
                case_id,
                verdicts[k],
                bases[k],
                ratio_of(change.mean[k]),
                ratio_of(low[k]),
                ratio_of(high[k]),
                None if math.isnan(p_slower[k]) else float(p_slower[k]),
                None if math.isnan(p_faster[k]) else float(p_faster[k]),
                ratio_of(before.mean[k]),
                ratio_of(after.mean[k]),
                len(logs[k][0]),
                len(logs[k][1]),
                reason,
            )
        )
    return contrasts


def _observed(a: list[Record], b: list[Record]) -> tuple[str, _Observed, _Observed]:
    """Return the basis of a case, its times, and those over the sentinel's where all have it."""
    on_device = _logs(a, "device"), _logs(b, "device")
    if all(on_device):  # the sentinel is a wall clock's: it tells nothing of device time
        return "device", on_device, on_device
    logs = _logs(a, "wall"), _logs(b, "wall")
    over_a, over_b = _over_sentinel(a), _over_sentinel(b)
    return "wall", logs, logs if over_a is None or over_b is None else (over_a, over_b)


def _change(columns: Sequence[_Observed]) -> tuple[Means, Means, Estimates]:
    """Means over the blocks of A and of B for each case, of moderated variance, and B - A."""
    a, b = (
        moderate(means(np.array([*zip_longest(*side, fillvalue=math.nan)]).reshape(-1, len(side))))
        for side in zip(*columns, strict=True)
    )
    return a, b, welch(a, b)


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


def _why_unclear(pair: tuple[list[Record], list[Record]], logs: _Observed) -> str:
    for name, records, observed in zip("AB", pair, logs, strict=True):
        if not observed:
            worst = worst_of(records)
            return f"no times in {name}: {worst.reason or worst.status}"
        if len(observed) < 2:
            return f"one block in {name}: an interval needs at least 2"
    return "the interval reaches across a threshold: more blocks would narrow it"


@dataclass(frozen=True)
class Shift:
    """Median time in B over that in A, of the shared ``cases`` and of the ``sentinel``.

    Null with few cases, and where a run has no sentinel.
    """

    cases: float | None
    sentinel: float | None

    @property
    def words(self) -> str:
        """Say that the machine may have changed; empty where nothing suggests it."""
        moved = {
            "over all cases the median ratio is {:.3f}": self.cases,
            _SENTINEL + " takes {:.3f}x": self.sentinel,
        }
        parts = [form.format(r) for form, r in moved.items() if r and abs(math.log(r)) > _SHIFT]
        if not parts:
            return ""
        return f"{' and '.join(parts)}: the machine may have changed, rather than the code"


def shift(contrasts: Sequence[Contrast], run_a: Run, run_b: Run) -> Shift:
    """Look for what moved all of B against A."""
    ratios = [contrast.ratio for contrast in contrasts if contrast.ratio is not None]
    cases = median(ratios) if len(ratios) >= _FEWEST_CASES else None
    before, after = (
        [time for record in run.records if (time := sentinel_seconds(record)) is not None]
        for run in (run_a, run_b)
    )
    return Shift(cases, median(after) / median(before) if before and after else None)
