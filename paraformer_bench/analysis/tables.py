"""Records to tables: one row per case and block, and one row per case. Seconds and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from paraformer_bench.analysis.intervals import t_quantile
from paraformer_bench.analysis.medians import block_median, grouped, worst_of
from paraformer_bench.study.case import REFERENCE_AXES, Case, Fields, Method, Regime, in_order
from paraformer_bench.study.record import Record

PERCENTILES = {"wall_p90": (90.0, 64), "wall_p99": (99.0, 662), "wall_p999": (99.9, 6636)}
"""Column -> (percentile, pooled samples below which it is not given)."""

_SPENT = ["peak_bytes", "reserved_bytes", "energy_joules"]
_FACTS = [*_SPENT, "parameter_bytes", "flops", "relative_error"]
_NUMBERS = ["wall", "device_time", *_FACTS]
_BLOCK = ["block", "order", "status", "reason", "samples", *_NUMBERS, "flags"]


def block_table(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per record, in the order of the records; docs/data.md tells the columns.

    There are further ones for axes that only some models have. Numbers that are null are NaN. A
    record whose status is not ``ok`` has no times and no samples, whatever it measured before it
    failed.
    """
    names: dict[Case, Fields] = {}
    rows = []
    for record in records:
        case = record.case
        if case not in names:
            names[case] = _names(case)
        row = {name: getattr(record, name) for name in ("block", "order", "status", *_FACTS)}
        row |= {
            "reason": record.reason or "",
            "samples": len(record.wall_seconds) if record.status == "ok" else 0,
            "wall": block_median(record, "wall"),
            "device_time": block_median(record, "device"),
            "flags": tuple(record.flags),
        }
        rows.append(names[case] | row)
    # Columns that a table has whatever axes its models have, and though it has no rows.
    axes = in_order(dict.fromkeys(REFERENCE_AXES, 1))
    fields = _names(Case(Method("", "", ""), Regime(axes, 1, "", ""), 1))
    columns = dict.fromkeys(name for row in (fields, *names.values()) for name in row)
    numbers = dict.fromkeys([*_NUMBERS, "order"], "float64")
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*columns, *_BLOCK]).astype(numbers)
    return table


def case_table(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per case, sorted by conditions, method and depth.

    Columns are those of docs/data.md. Intervals of times are two-sided t on the logarithm, NaN
    with fewer than 2 blocks; percentiles are NaN with too few samples (`PERCENTILES`). Peaks and
    energy are medians over ok blocks, ``parameter_bytes`` and ``flops`` over all,
    ``relative_error`` is the greatest.
    """
    blocks = block_table(records)
    ok = blocks["status"] == "ok"
    blocks[_SPENT] = blocks[_SPENT].where(ok)
    by_case = blocks.groupby("case_id", sort=False)
    first, last = blocks.columns.get_loc("curve_id"), blocks.columns.get_loc("block")
    table: pd.DataFrame = by_case[list(blocks.columns[first:last])].first()
    for column in ("wall", "device_time"):
        table = table.join(_summary(blocks, column))
    table["throughput"] = table["batch"] / table["wall"]
    table = table.join(by_case[[*_SPENT, "parameter_bytes", "flops"]].median())
    table["relative_error"] = by_case["relative_error"].max()
    table["samples"] = by_case["samples"].sum()
    table["blocks"] = by_case.size()
    table["ok_blocks"] = ok.groupby(blocks["case_id"], sort=False).sum()
    table["failed_blocks"] = table["blocks"] - table["ok_blocks"]
    cases = grouped(records, lambda record: record.case)
    ids = [case.id for case in cases]
    columns = [*PERCENTILES, "status", "reason", "flags"]
    table = table.join(pd.DataFrame(map(_labels, cases.values()), index=ids, columns=columns))
    ordered = sorted(cases, key=lambda case: case.sort_key)
    return table.loc[[case.id for case in ordered]].reset_index()


def _names(case: Case) -> Fields:
    names = {
        "case_id": case.id,
        "curve_id": case.curve_id,
        "regime": case.regime.name,
        "group": case.group,
        "method": case.method.name,
    }
    return names | case.flat()


def _summary(blocks: pd.DataFrame, column: str) -> pd.DataFrame:
    """Geometric mean, its interval and the range of one column of times, per case."""
    times = blocks[column].where(blocks[column] > 0)
    logs = np.log(times).groupby(blocks["case_id"], sort=False)
    count, mean = logs.count(), logs.mean()
    dof = (count - 1).where(count >= 2).to_numpy(dtype=np.float64)
    half = t_quantile(0.975, dof) * logs.std() / np.sqrt(count)
    spread = times.groupby(blocks["case_id"], sort=False)
    summary: pd.DataFrame = pd.DataFrame(
        {
            column: np.exp(mean),
            f"{column}_low": np.exp(mean - half),
            f"{column}_high": np.exp(mean + half),
            f"{column}_min": spread.min(),
            f"{column}_max": spread.max(),
        }
    )
    return summary


def _labels(records: Sequence[Record]) -> Fields:
    """What cannot be averaged: percentiles, the worst status with its reason, and flags."""
    pooled = [s for record in records if record.status == "ok" for s in record.wall_seconds]
    labels: Fields = {
        column: float(np.percentile(pooled, percent)) if len(pooled) >= needed else np.nan
        for column, (percent, needed) in PERCENTILES.items()
    }
    worst = worst_of(records)
    flags = Counter(flag for record in records for flag in record.flags)
    named = {
        "status": worst.status,
        "reason": worst.reason or "",
        "flags": dict(sorted(flags.items())),
    }
    return labels | named
