"""Every case against the roofline floor of its own operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from paraformer_bench.analysis.roofline import Limits, Work, floor_seconds
from paraformer_bench.analysis.tables import case_table
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run, RunInfo


def limits_of(info: RunInfo) -> tuple[dict[str, Limits], str]:
    """Return the limits of each precision that a run's ceilings cover, and why there are none.

    Args:
        info: Contents of ``run.json``.
    """
    if info.ceilings is None:
        reason = info.ceilings_reason or "the ceilings of the device were not measured"
        return {}, reason
    return {dtype: Limits(info.ceilings, dtype) for dtype in info.ceilings.dtypes}, ""


def cases_with_floors(run: Run) -> pd.DataFrame:
    """Return `case_table` with the column ``floor`` (s); NaN where a case has none."""
    limits, _ = limits_of(run.info)
    cases = case_table(run.records)
    found = cases["case_id"].map(floors(run.records, limits))
    return cases.assign(floor=found.astype("float64"))


def work_of(record: Record) -> Work | None:
    """Return the operations of a record; None where it has none that can be read."""
    try:
        return Work.of(record.work) if record.work else None
    except (TypeError, ValueError, OverflowError):
        return None


def floors(records: Sequence[Record], limits: Mapping[str, Limits]) -> dict[str, float]:
    """Return case id -> seconds of its roofline floor, for the cases that have one.

    Args:
        records: Of one run. A case has the same operations in every block.
        limits: By precision, as `limits_of` returns them.
    """
    found: dict[str, float] = {}
    for record in records:
        case = record.case
        if record.status != "ok" or case.dtype not in limits or case.id in found:
            continue
        work = work_of(record)
        if work is not None:
            found[case.id] = floor_seconds(work, limits[case.dtype])
    return found
