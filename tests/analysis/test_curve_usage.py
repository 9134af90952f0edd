from __future__ import annotations

import math

import numpy as np
import pytest

from paraformer_bench.analysis.curve import judge_curve
from paraformer_bench.study.errors import UsageError


@pytest.mark.parametrize(
    ("margin", "confidence"),
    [
        *((margin, 0.95) for margin in (math.nan, math.inf, 0, -0.1, True, "0.1")),
        *((0.1, confidence) for confidence in (math.nan, math.inf, 1, 0.5, "0.95")),
    ],
)
def test_rules_that_make_no_sense(margin: float, confidence: float) -> None:
    with pytest.raises(UsageError, match=r"^(margin|confidence) must be"):
        judge_curve(np.zeros((3, 2)), [1, 2], margin, confidence)


def test_arrays_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="do not fit 3 depths"):
        judge_curve(np.zeros((3, 2)), [1, 2, 4])
    with pytest.raises(UsageError, match="must ascend"):
        judge_curve(np.zeros((3, 2)), [2, 1])
    with pytest.raises(UsageError, match="without any time"):
        judge_curve(np.full((3, 2), math.nan), [1, 2])
