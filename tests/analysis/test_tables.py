from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from paraformer_bench.analysis.tables import block_table, case_table
from paraformer_bench.study.case import Case
from paraformer_bench.study.record import Record

pytestmark = pytest.mark.filterwarnings("error")
MakeCase = Callable[..., Case]


def test_block_table_has_a_row_per_record(make_case: MakeCase) -> None:
    case = make_case(depth=4)
    records = [
        Record(
            case=case,
            block=3,
            order=7,
            status="ok",
            wall_seconds=[3.0, 1.0, 2.0],
            device_seconds=[0.5, 0.7],
            peak_bytes=2**40 + 1,
            reserved_bytes=5,
            parameter_bytes=6,
            flops=8,
            energy_joules=1.5,
            relative_error=1e-7,
            flags=["drift"],
        ),
        Record(
            case=case,
            block=4,
            order=None,
            status="oom",
            reason="full",
            wall_seconds=[9.0],
            device_seconds=[9.0],
        ),
    ]
    table = block_table(records)
    assert set(case.flat()) <= set(table.columns)
    ok, oom = table.to_dict("records")
    assert (ok["case_id"], ok["curve_id"]) == (case.id, case.curve_id)
    names = (case.regime.name, case.group, case.method.name)
    assert (ok["regime"], ok["group"], ok["method"]) == names
    assert (ok["depth"], ok["tokens"], ok["block"], ok["order"]) == (4, 5, 3, 7)
    assert (ok["wall"], ok["device_time"], ok["samples"]) == (2.0, 0.6, 3)
    assert (ok["peak_bytes"], ok["reserved_bytes"]) == (2**40 + 1, 5)
    assert (ok["parameter_bytes"], ok["flops"], ok["energy_joules"]) == (6, 8, 1.5)
    assert (ok["status"], ok["reason"], ok["flags"]) == ("ok", "", ("drift",))
    assert (oom["status"], oom["reason"], oom["samples"]) == ("oom", "full", 0)
    for name in ("wall", "device_time", "order", "peak_bytes", "energy_joules", "relative_error"):
        assert math.isnan(oom[name]), name


def test_case_table_summarises_block_medians(make_case: MakeCase) -> None:
    medians = [0.010, 0.012, 0.011, 0.020]
    records = [
        Record(
            case=make_case(batch=4),
            block=block,
            order=0,
            status="ok",
            wall_seconds=[median, median * 9, median / 9],
            peak_bytes=100 + block,
            relative_error=(3 - block) * 1e-8,
        )
        for block, median in enumerate(medians)
    ]
    (row,) = case_table(records).to_dict("records")
    logs = np.log(medians)
    interval = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert row["wall"] == pytest.approx(math.exp(logs.mean()))
    assert row["wall_low"] == pytest.approx(math.exp(interval.low))
    assert row["wall_high"] == pytest.approx(math.exp(interval.high))
    assert (row["wall_min"], row["wall_max"]) == (0.010, 0.020)
    assert row["throughput"] == pytest.approx(4 / math.exp(logs.mean()))
    assert (row["blocks"], row["ok_blocks"], row["failed_blocks"]) == (4, 4, 0)
    assert (row["samples"], row["peak_bytes"]) == (12, 101.5)
    assert row["relative_error"] == pytest.approx(3e-8)
    assert (row["status"], row["reason"], row["flags"]) == ("ok", "", {})
    assert math.isnan(row["device_time"])
    assert math.isnan(row["wall_p90"])


def test_case_table_shows_a_case_that_failed_in_some_blocks(make_case: MakeCase) -> None:
    case = make_case()
    records = [
        Record(
            case=case,
            block=0,
            order=0,
            status="ok",
            wall_seconds=[1.0],
            peak_bytes=10,
            flags=["drift"],
        ),
        Record(
            case=case,
            block=1,
            order=0,
            status="oom",
            reason="full",
            wall_seconds=[50.0],
            peak_bytes=99,
        ),
        Record(
            case=case,
            block=2,
            order=0,
            status="timeout",
            reason="hung",
            flags=["drift", "unconverged"],
        ),
        Record(case=case, block=3, order=0, status="oom", reason="full", parameter_bytes=7),
    ]
    (row,) = case_table(records).to_dict("records")
    assert (row["blocks"], row["ok_blocks"], row["failed_blocks"]) == (4, 1, 3)
    assert (row["status"], row["reason"]) == ("timeout", "hung")
    assert (row["wall"], row["wall_max"], row["samples"]) == (1.0, 1.0, 1)
    assert (row["peak_bytes"], row["parameter_bytes"]) == (10, 7)
    assert math.isnan(row["wall_low"])
    assert row["flags"] == {"drift": 2, "unconverged": 1}


def test_a_case_that_never_ran_keeps_its_row(make_case: MakeCase) -> None:
    skipped = Record(
        case=make_case(depth=1), block=0, order=None, status="skipped", reason="no branches"
    )
    ran = Record(case=make_case(depth=2), block=0, order=0, status="ok", wall_seconds=[1.0])
    table = case_table([skipped, ran])
    assert list(table["depth"]) == [1, 2]
    assert list(table["status"]) == ["skipped", "ok"]
    assert math.isnan(table["wall"][0])
    assert math.isnan(table["throughput"][0])
    assert table["wall"][1] == 1.0


def test_cases_are_in_the_order_of_their_sizes_whenever_they_ran(make_case: MakeCase) -> None:
    shapes = [(128, 1, 2), (64, 32, 1), (128, 1, 1), (64, 4, 1)]
    records = [
        Record(
            case=make_case(width=width, heads=1, batch=batch, depth=depth),
            block=0,
            order=k,
            status="ok",
            reason="",
            wall_seconds=[1.0],
        )
        for k, (width, batch, depth) in enumerate(shapes)
    ]
    table = case_table(records)
    found = list(zip(table["width"], table["batch"], table["depth"], strict=True))
    assert found == [(64, 4, 1), (64, 32, 1), (128, 1, 1), (128, 1, 2)]
    assert list(table.index) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("column", "percent", "needed"),
    [("wall_p90", 90, 64), ("wall_p99", 99, 662), ("wall_p999", 99.9, 6636)],
)
def test_percentiles_need_enough_pooled_samples(
    make_case: MakeCase, column: str, percent: float, needed: int
) -> None:
    def value(samples: int) -> float:
        half = samples // 2
        times = [1.0 + k for k in range(samples)]
        records = [
            Record(case=make_case(), block=0, order=0, status="ok", wall_seconds=times[:half]),
            Record(case=make_case(), block=1, order=0, status="ok", wall_seconds=times[half:]),
            Record(
                case=make_case(),
                block=2,
                order=0,
                status="error",
                reason="x",
                wall_seconds=[1e9] * 10_000,
            ),
        ]
        return float(case_table(records)[column][0])

    assert math.isnan(value(needed - 1))
    assert value(needed) == pytest.approx(1 + percent / 100 * (needed - 1))


def test_tables_of_nothing_have_their_columns() -> None:
    assert list(block_table([])["wall"]) == []
    assert list(case_table([])["wall_low"]) == []


def test_blocks_that_agree_exactly(make_case: MakeCase) -> None:
    records = [
        Record(case=make_case(), block=b, order=0, status="ok", wall_seconds=[0.5])
        for b in range(3)
    ]
    (row,) = case_table(records).to_dict("records")
    assert (row["wall"], row["wall_low"], row["wall_high"]) == pytest.approx((0.5, 0.5, 0.5))
