"""The least time that operations can take at a device's measured ceilings.

Source: S. Williams, A. Waterman, D. Patterson, Roofline: an insightful visual performance model
for multicore architectures, Communications of the ACM 52 (2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paraformer_bench.analysis.intervals import Array
from paraformer_bench.analysis.tables import case_table
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run, RunInfo

_TOO_MANY = 1e24


class Roofline:
    """The ceilings of one precision as functions of size.

    ``float32`` stands in for no other precision.

    Raises:
        KeyError: No product was measured in this precision.
    """

    def __init__(self, ceilings: Ceilings, dtype: str) -> None:
        products = [product for product in ceilings.products if product.dtype == dtype]
        if not products:
            raise KeyError(dtype)
        self.ceilings = ceilings
        self._flops = np.log([product.flops for product in products])
        self._seconds = np.log([product.seconds for product in products])
        self._footprints = np.log([copy.footprint_bytes for copy in ceilings.copies])
        self._rates = np.log([copy.bytes_per_second for copy in ceilings.copies])

    @property
    def peak(self) -> float:
        """FLOPs per second of the fastest product."""
        return float(np.exp(self._flops - self._seconds).max())

    def compute(self, flops: Array) -> Array:
        """Seconds of products of this many FLOPs, at the rate of a square product as large.

        Between sizes that were measured, on a straight line of logarithms; beyond them at the
        rate of the last one.
        """
        logs = np.log(np.maximum(flops, 1))
        inside = np.clip(logs, self._flops[0], self._flops[-1])
        seconds = np.interp(inside, self._flops, self._seconds) + (logs - inside)
        return np.where(flops > 0, np.exp(seconds), 0.0)

    def transfer(self, size: Array, footprint: Array) -> Array:
        """Seconds of moving ``size`` bytes of something that covers ``footprint`` bytes."""
        rates = np.interp(np.log(np.maximum(footprint, 1)), self._footprints, self._rates)
        return np.asarray(size / np.exp(rates), dtype=np.float64)


@dataclass(frozen=True)
class Work:
    """Operations of one call by kind and size: of each how many, and FLOPs and bytes of one."""

    names: Sequence[str]
    times: Array
    flops: Array
    bytes: Array

    @classmethod
    def of(cls, operations: Sequence[Sequence[object]]) -> Work:
        """Arrange what `Record.work` holds.

        Raises:
            ValueError: It is not what a record holds.
            TypeError: Likewise.
            OverflowError: Likewise.
        """
        numbers = np.array([operation[1:] for operation in operations], dtype=np.float64)
        if not ((numbers >= 0) & (numbers < _TOO_MANY)).all():
            raise ValueError("no call does that little or that much")
        times, flops, size = numbers.T
        return cls([str(operation[0]) for operation in operations], times, flops, size)


def floor_seconds(work: Work, limits: Roofline) -> float:
    """Return the sum over operations of the longer of arithmetic and memory traffic.

    Arithmetic goes at the rate of the fastest product, traffic at that of a copy as large as the
    operation. Nothing overlaps, nothing is fused, and launching is free.
    """
    seconds = np.maximum(work.flops / limits.peak, limits.transfer(work.bytes, work.bytes))
    return float(work.times @ seconds)


def limits_of(info: RunInfo) -> tuple[dict[str, Roofline], str]:
    """Return the limits by precision that a run's ceilings cover, and why there are none."""
    if info.ceilings is None:
        reason = info.ceilings_reason or "the ceilings of the device were not measured"
        return {}, reason
    return {dtype: Roofline(info.ceilings, dtype) for dtype in info.ceilings.dtypes}, ""


def cases_with_floors(run: Run) -> pd.DataFrame:
    """Return `case_table` with the column ``floor`` (s); NaN where a case has none."""
    limits, _ = limits_of(run.info)
    cases = case_table(run.records)
    seconds = cases["case_id"].map(floors(run.records, limits))
    return cases.assign(floor=seconds.astype("float64"))


def work_of(record: Record) -> Work | None:
    """Return the operations of a record; None where it has none that can be read."""
    try:
        return Work.of(record.work) if record.work else None
    except (TypeError, ValueError, OverflowError):
        return None


def floors(records: Sequence[Record], limits: Mapping[str, Roofline]) -> dict[str, float]:
    """Return case id -> seconds of its roofline floor, for the cases of a run that have one.

    A case has the same operations in every block.
    """
    seconds: dict[str, float] = {}
    for record in records:
        case = record.case
        if record.status != "ok" or case.dtype not in limits or case.id in seconds:
            continue
        work = work_of(record)
        if work is not None:
            seconds[case.id] = floor_seconds(work, limits[case.dtype])
    return seconds
