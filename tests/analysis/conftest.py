"""Builders of records whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from paraformer_bench.study.case import Case
from paraformer_bench.study.ceilings import Ceilings, Copy, Product
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run, RunInfo

BASE = Case.of(
    model="paraformer",
    execution="stacked",
    runtime="eager",
    depth=1,
    width=64,
    batch=2,
    image=32,
    patch=16,
    heads=1,
    branch_depth=1,
    dtype="float32",
    device="cpu",
).flat()

Times = Mapping[int, Sequence[float | str | None]]


def _case(**fields: Any) -> Case:
    return Case.of(**(BASE | fields))


def _curve(wall: Times, events: Times | None = None, **fields: Any) -> list[Record]:
    """One record per depth and block: a time, a status that is not ok, or None for no record.

    ``events`` are the device times beside the wall times.
    """
    records = []
    for depth, blocks in wall.items():
        for block, seen in enumerate(blocks):
            if seen is None:
                continue
            case = _case(depth=depth, **fields)
            if isinstance(seen, str):
                records.append(
                    Record(
                        case=case, block=block, order=0, status=seen, reason=f"{seen} at {depth}"
                    )
                )
                continue
            record = Record(case=case, block=block, order=0, status="ok", wall_seconds=[seen])
            if events is not None:
                record.device_seconds = [float(events[depth][block] or 0)]
            records.append(record)
    return records


def _run(records: list[Record], name: str = "run", **info: Any) -> Run:
    return Run(Path(name), RunInfo(**info), records, [])


CEILINGS = Ceilings(
    date="2025-11-23T20:13:00+00:00",
    host="here",
    device="cpu",
    device_name="a device",
    torch="2",
    package="0",
    copies=(Copy(10**6, 4e10), Copy(10**8, 1e10)),
    products=(
        Product("float32", 10**6, 1e-4),
        Product("float32", 10**8, 1e-3),
        Product("float32", 10**10, 1e-1),
    ),
    launch_seconds=2e-6,
    node_seconds=None,
    sync_seconds=0.0,
)
"""10 GFLOP/s for small products, 100 for large ones; 40 GB/s within a cache, 10 beyond it."""


@pytest.fixture
def ceilings() -> Ceilings:
    return CEILINGS


@pytest.fixture
def gpu_ceilings() -> Ceilings:
    changes: dict[str, Any] = {"device": "cuda:0", "node_seconds": 1e-5, "sync_seconds": 5e-6}
    return replace(CEILINGS, **changes)


@pytest.fixture
def make_case() -> Callable[..., Case]:
    return _case


@pytest.fixture
def make_curve() -> Callable[..., list[Record]]:
    return _curve


@pytest.fixture
def make_run() -> Callable[..., Run]:
    return _run
