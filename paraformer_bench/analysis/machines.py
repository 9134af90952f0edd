"""Two runs as wholes: has the machine changed, rather than the code?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from paraformer_bench.analysis.compare import Contrast
from paraformer_bench.analysis.medians import sentinel_seconds
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

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
