"""Ceilings as functions of size, against hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest

from paraformer_bench.analysis.roofline import Roofline, Work, floor_seconds
from paraformer_bench.study.ceilings import Ceilings


def test_a_product_takes_what_one_as_large_took(ceilings: Ceilings) -> None:
    seconds = Roofline(ceilings, "float32").compute(np.array([1e6, 1e8, 1e10]))
    assert seconds == pytest.approx([1e-4, 1e-3, 1e-1])


def test_between_sizes_the_logarithm_is_straight(ceilings: Ceilings) -> None:
    # Half-way from 1e6 to 1e8 on a logarithmic scale is 1e7; from 1e-4 to 1e-3 it is 10^-3.5.
    assert Roofline(ceilings, "float32").compute(np.array([1e7])) == pytest.approx([10**-3.5])


def test_beyond_the_sizes_the_last_rate_holds(ceilings: Ceilings) -> None:
    seconds = Roofline(ceilings, "float32").compute(np.array([1e4, 1e12, 0.0]))
    assert seconds == pytest.approx([1e-6, 10.0, 0.0])


def test_bytes_move_at_the_rate_of_what_they_lie_in(ceilings: Ceilings) -> None:
    limits = Roofline(ceilings, "float32")
    size = np.array([4e5, 4e5, 4e5, 4e5])
    footprint = np.array([1e3, 1e6, 1e7, 1e9])
    # 20 GB/s half-way between 40 and 10.
    assert limits.transfer(size, footprint) == pytest.approx([1e-5, 1e-5, 2e-5, 4e-5])


def test_the_peak_is_the_best_rate(ceilings: Ceilings) -> None:
    assert Roofline(ceilings, "float32").peak == pytest.approx(1e11)


def test_another_precision_has_no_limits(ceilings: Ceilings) -> None:
    with pytest.raises(KeyError):
        Roofline(ceilings, "bfloat16")


def test_the_floor_sums_the_longer_of_arithmetic_and_traffic(ceilings: Ceilings) -> None:
    work = Work.of([["addmm", 3, 10**9, 10**6], ["add", 2, 0, 10**8], ["tiny", 1, 0, 0]])
    # 1e9 FLOPs at the peak take 10 ms, their bytes 25 us; 1e8 bytes at 10 GB/s take 10 ms.
    assert floor_seconds(work, Roofline(ceilings, "float32")) == pytest.approx(3 * 1e-2 + 2 * 1e-2)


@pytest.mark.parametrize(
    "held", [[[1]], [["add", "x", 0, 0]], 5, [None], [["a", 1, 2, 3, 4]], [["a", -1, 0, 0]]]
)
def test_what_no_record_holds_is_refused(held: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        Work.of(held)  # type: ignore[arg-type]
