"""The sweep dies at every one of its writes in turn; each time it is resumed and must be whole.

Death comes in three ways: before the write, after it, and in the middle of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console

from paraformer_bench.study.job import Protocol
from paraformer_bench.study.run_folder import (
    JOURNAL,
    RECORDS,
    RunInfo,
    read_lines,
    read_records,
)
from paraformer_bench.sweep import store as store_module
from paraformer_bench.sweep.plan import Plan, Study
from paraformer_bench.sweep.run import run_sweep
from paraformer_bench.sweep.store import Store


class Death(BaseException):
    """What no handler may answer: after it, nothing can be written."""


class Fate:
    """Counts writes and says at which one to die, and how."""

    def __init__(self, at: int, way: str) -> None:
        self._left = at
        self._way = way
        self.met = False

    def write(self, file: io.FileIO, data: bytes) -> int:
        if self.met:
            raise Death
        self._left -= 1
        if self._left:
            return io.FileIO.write(file, data)
        self.met = True
        if self._way == "after":
            io.FileIO.write(file, data)
        if self._way == "amid":
            io.FileIO.write(file, data[: len(data) // 2])
        raise Death

    def truncate(self, file: io.FileIO, size: int) -> int:
        if self.met:
            raise Death
        self._left -= 1
        if self._left:
            return io.FileIO.truncate(file, size)
        self.met = True
        if self._way == "after":
            io.FileIO.truncate(file, size)
        raise Death


@pytest.fixture
def plan(case_of) -> Plan:
    cases = [case_of(1), case_of(2)]
    skipped = {case_of(1, runtime="graph"): "no such device"}
    return Plan(cases, skipped, "cpu", Protocol(rounds=2), 0, [], blocks=2)


def everything(plan: Plan) -> set[tuple[str, int]]:
    return {(case.id, block) for case in plan.all_cases for block in range(plan.blocks)}


def sweep(study: Study, store: Store, launch) -> None:
    console = Console(file=io.StringIO())
    run_sweep(study, store, console, 0.0, start=launch, clock=count().__next__)


def doomed(
    folder: Path, study: Study, launch, at: int, way: str, patch: pytest.MonkeyPatch
) -> bool:
    """Run a sweep that dies at write ``at``; return whether it came to that."""
    fate = Fate(at, way)

    class Mortal(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return fate.write(self, data)

        def truncate(self, size: int) -> int:  # type: ignore[override]
            return fate.truncate(self, size)

    store = Store.create(folder, RunInfo())
    for name in ("_records", "_journal"):
        old = getattr(store, name)
        setattr(store, name, Mortal(old.name, "a"))
        old.close()
    with patch.context() as context:
        context.setattr(store, "update", lambda **changes: None)
        try:
            sweep(study, store, launch)
        except Death:
            pass
        finally:
            store._records.close()
            store._journal.close()
    return fate.met


@pytest.mark.parametrize("way", ["before", "after", "amid"])
@pytest.mark.parametrize("fault", [None, "sample", "energy"])
def test_death_at_every_write(
    tmp_path: Path,
    plan: Plan,
    simulated,
    study_of,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    fault,
) -> None:
    faults = {(plan.cases[0].id, fault): "die"} if fault else {}
    if fault == "energy":
        plan = replace(plan, protocol=structs.replace(plan.protocol, energy_seconds=2.0))

    def launch(job):
        return simulated(job, faults)

    for at in attempts(tmp_path, study_of(plan), launch, way, monkeypatch):
        folder = tmp_path / str(at)
        saved = whole_lines(folder / RECORDS)
        with Store.resume(folder, plan.all_cases) as store:
            assert (folder / JOURNAL).read_bytes() == b""
            sweep(study_of(plan), store, launch)
        assert read_lines(folder / RECORDS)[: len(saved)] == saved
        records, warnings = read_records(folder / RECORDS)
        assert warnings == []
        assert len(records) == len(everything(plan))
        assert {record.key for record in records} == everything(plan)
        assert not (folder / JOURNAL).exists()
        for record in records:
            # Slices come whole and in order, whoever measured them.
            assert record.wall_seconds == [1.0, 1.5, 2.0, 2.5][: len(record.wall_seconds)]
            assert sum(record.rounds) == len(record.wall_seconds)
            if record.status == "ok" and len(record.rounds) < 2:
                assert "interrupted" in record.flags


def attempts(folder: Path, study: Study, launch, way: str, patch) -> Iterator[int]:
    """Yield every write at which a sweep can die, after it has died there."""
    for at in count(1):
        if not doomed(folder / str(at), study, launch, at, way, patch):
            assert at > 20  # the plan makes more writes than that
            return
        yield at


def whole_lines(path: Path) -> list[bytes]:
    return [line for line in read_lines(path) if line.endswith(b"\n")]


def test_the_store_writes_as_this_test_believes(tmp_path: Path) -> None:
    """Every file it appends to is opened unbuffered, so that a write is a write."""
    with Store.create(tmp_path / "run", RunInfo()) as store:
        assert type(store._records) is type(store._journal) is io.FileIO
    assert store_module.io is io
