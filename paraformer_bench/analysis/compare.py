"""Two runs case by case: is B slower than A, faster, or the same?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from paraformer_bench import checks
from paraformer_bench.analysis.curve import ratio_of
from paraformer_bench.analysis.intervals import Means, holm, means, welch
from paraformer_bench.analysis.medians import log_median
from paraformer_bench.errors import UsageError
from paraformer_bench.record import STATUSES, Record
from paraformer_bench.run_folder import Run

FASTER, SLOWER, SAME, UNCLEAR = "FASTER", "SLOWER", "SAME", "UNCLEAR"
ONLY_A, ONLY_B = "ONLY_A", "ONLY_B"


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
        p_slower: Holm-adjusted p-value against a ratio of at most 1 + threshold.
        p_faster: Holm-adjusted p-value against a ratio of at least 1 / (1 + threshold).
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

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)


def compare(
    run_a: Run, run_b: Run, threshold: float = 0.05, confidence: float = 0.95
) -> list[Contrast]:
    """Compare every case of two runs; A's cases in A's order, then those only B has.

    The block medians of the two runs are independent samples, compared by Welch's t on their
    logarithms. SLOWER: B/A is above 1 + threshold with a p-value of at most 1 - confidence after
    Holm's correction over the cases. FASTER: B/A is below 1 / (1 + threshold) in the same way,
    corrected by itself. SAME: the uncorrected one-sided bounds both lie within the threshold.

    Raises:
        UsageError: The runs share no case, or threshold or confidence is out of range.
    """
    checks.number(threshold, "threshold", 0, math.inf)
    checks.number(confidence, "confidence", 0.5, 1)
    cases_a, cases_b = _by_case(run_a.records), _by_case(run_b.records)
    shared = [case_id for case_id in cases_a if case_id in cases_b]
    if not shared:
        raise UsageError(f"{run_a.folder} and {run_b.folder} share no case")
    pairs = [(cases_a[case_id], cases_b[case_id]) for case_id in shared]
    judged = dict(zip(shared, _contrasts(shared, pairs, threshold, confidence), strict=True))
    contrasts = [judged.get(case_id) or Contrast(case_id, ONLY_A) for case_id in cases_a]
    return contrasts + [Contrast(case_id, ONLY_B) for case_id in cases_b if case_id not in judged]


def _contrasts(
    case_ids: Sequence[str],
    pairs: Sequence[tuple[list[Record], list[Record]]],
    threshold: float,
    confidence: float,
) -> list[Contrast]:
    bases, logs_a, logs_b = [], [], []
    for records_a, records_b in pairs:
        a, b = _logs(records_a, "device"), _logs(records_b, "device")
        basis = "device" if a and b else "wall"
        if basis == "wall":
            a, b = _logs(records_a, "wall"), _logs(records_b, "wall")
        bases.append(basis)
        logs_a.append(a)
        logs_b.append(b)
    a_means, b_means = _column_means(logs_a), _column_means(logs_b)
    change = welch(a_means, b_means)
    limit = math.log1p(threshold)
    low, high = change.bounds(confidence)
    p_slower, p_faster = holm(change.p_above(limit)), holm(change.p_below(-limit))
    contrasts = []
    for k, case_id in enumerate(case_ids):
        reason = ""
        if p_slower[k] <= 1 - confidence:
            verdict = SLOWER
        elif p_faster[k] <= 1 - confidence:
            verdict = FASTER
        elif -limit < low[k] and high[k] < limit:
            verdict = SAME
        else:
            verdict = UNCLEAR
            reason = _why_unclear(*pairs[k], len(logs_a[k]), len(logs_b[k]))
        contrasts.append(
            Contrast(
                case_id,
                verdict,
                bases[k],
                ratio_of(change.mean[k]),
                ratio_of(low[k]),
                ratio_of(high[k]),
                _known(p_slower[k]),
                _known(p_faster[k]),
                ratio_of(a_means.mean[k]),
                ratio_of(b_means.mean[k]),
                len(logs_a[k]),
                len(logs_b[k]),
                reason,
            )
        )
    return contrasts


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
    records_a: Sequence[Record], records_b: Sequence[Record], blocks_a: int, blocks_b: int
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
