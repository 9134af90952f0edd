from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from paraformer_bench.study import wire
from paraformer_bench.study.ceilings import FRESH, Ceilings, Copy, Product

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)

CEILINGS = Ceilings(
    date=NOON.isoformat(),
    host="host",
    device="cuda:0",
    device_name="NVIDIA H200",
    torch="2.13.0",
    package="0",
    copies=(Copy(2**20, 1e12), Copy(2**30, 4e12)),
    products=(Product("bfloat16", 2**20, 1e-5), Product("float32", 2**20, 2e-5)),
    launch_seconds=4e-6,
    node_seconds=1e-6,
    sync_seconds=5e-6,
)


def test_there_and_back() -> None:
    on_cpu = replace(CEILINGS, node_seconds=None, sync_seconds=0.0)
    for ceilings in (CEILINGS, on_cpu, replace(CEILINGS, flags=("cpu_busy",))):
        assert wire.decode(wire.encode(ceilings), Ceilings) == ceilings


def test_sizes_come_back_in_order() -> None:
    data = wire.plain(CEILINGS)
    data["copies"] = data["copies"][::-1]
    data["products"] = data["products"][::-1]
    assert wire.convert(data, Ceilings) == CEILINGS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("copies", []),
        ("products", []),
        ("copies", [{"footprint_bytes": 1, "bytes_per_second": 0}]),
        ("products", [{"dtype": "float32", "flops": 1, "seconds": float("nan")}]),
        ("launch_seconds", -1),
        ("node_seconds", float("inf")),
        ("sync_seconds", -1e-9),
        ("launch_seconds", None),
        ("copies", None),
    ],
)
def test_what_makes_no_sense_is_refused(field: str, value: Any) -> None:
    with pytest.raises(wire.Malformed):
        wire.convert(wire.plain(CEILINGS) | {field: value}, Ceilings)


@pytest.mark.parametrize(
    ("later", "dtypes", "fresh"),
    [
        (timedelta(0), ["float32"], True),
        (FRESH, ["float32", "bfloat16"], True),
        (FRESH + timedelta(seconds=1), ["float32"], False),
        (timedelta(seconds=-1), ["float32"], False),  # of tomorrow: the clock was set
        (timedelta(0), ["float32", "float16"], False),
    ],
)
def test_fresh_is_young_and_complete(later: timedelta, dtypes: list[str], fresh: bool) -> None:
    assert CEILINGS.fresh(dtypes, NOON + later) is fresh


def test_what_was_disturbed_is_never_fresh() -> None:
    disturbed = replace(CEILINGS, flags=("cpu_busy",))
    assert not disturbed.fresh(["float32"], NOON)


@pytest.mark.parametrize("date", ["", "yesterday", "2026-01-02T12:00:00"])
def test_without_a_date_nothing_is_fresh(date: str) -> None:
    assert not replace(CEILINGS, date=date).fresh(["float32"], NOON)
