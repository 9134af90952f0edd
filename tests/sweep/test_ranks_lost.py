"""A rank that dies or hangs costs its case a record, and nothing else."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from paraformer_bench.study.job import BlockJob, Job, Protocol
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, RunInfo, read_records
from paraformer_bench.sweep.blocks import BlockRecords, OpenBlock, Pace, run_blocks
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.supervise import LocalWorker
from tests.fakes import tiny_case

pytestmark = pytest.mark.slow

PLUGIN = """
import os
import signal

from paraformer_bench import register_execution


def register(name, fault, rank=1):
    @register_execution(name, spread="ranks")
    def prepare(model, example, ranks):
        calls = iter(range(10**9))

        def run(x):
            if ranks.rank == rank and next(calls) == 4:  # the gate has passed
                fault()
            return ranks.sum(model(x) / ranks.size)

        return run


def explode():
    raise ValueError("boom")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


register("dies", die)
register("leader_dies", die, rank=0)
register("hangs", signal.pause)
def starve():
    raise RuntimeError("CUDA out of memory")


register("raises", explode)
register("leader_raises", explode, rank=0)
register("starves", starve)
"""


class Sweep:
    """Runs jobs with real workers and knows their process groups."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.groups: list[int] = []

    def launch(self, job: Job) -> LocalWorker:
        worker = LocalWorker(job)
        self.groups.append(worker._process.pid)
        return worker

    def run(self, job: BlockJob) -> dict[str, Record]:
        pace = Pace(math.inf, time.monotonic)
        with Store.create(self._folder, RunInfo(name="x")) as store:
            records = BlockRecords(store, lambda steps, case: None)
            list(run_blocks([OpenBlock(job)], self.launch, records, pace))
        records, warnings = read_records(self._folder / RECORDS)
        assert warnings == []
        return {record.case.execution: record for record in records}

    def left(self) -> list[psutil.Process]:
        """What is left of the workers and of whatever they started, once the dead are gone."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                dead = process.status() == psutil.STATUS_ZOMBIE
                if os.getpgid(process.pid) in self.groups and not dead:
                    mine.append(process)
        return psutil.wait_procs(mine, timeout=20)[1]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sweep = Sweep(tmp_path / "run")
    yield sweep
    assert sweep.left() == []
    assert list(temporary.iterdir()) == []


def job_of(tmp_path: Path, executions: list[str], seconds: float) -> BlockJob:
    plugin = tmp_path / "faults.py"
    plugin.write_text(PLUGIN)
    base = tiny_case(model="paraformer", depth=2, devices=2)
    return BlockJob(
        device="cpu",
        block=0,
        protocol=Protocol(rounds=1, seconds_per_case=0.05, timeout_seconds=seconds),
        seed=0,
        plugins=[str(plugin)],
        groups=[[base.replace(execution=name)] for name in executions],
    )


def test_a_rank_that_dies_is_an_error_and_the_sweep_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    faults = ["dies", "leader_dies", "raises", "leader_raises", "starves"]
    records = sweep.run(job_of(tmp_path, [*faults, "sharded"], 120))
    assert len(sweep.groups) == 6  # each loss costs a worker
    assert {name: record.status for name, record in records.items()} == {
        "dies": "error",
        "leader_dies": "error",
        "raises": "error",
        "leader_raises": "error",
        "starves": "oom",
        "sharded": "ok",
    }
    assert records["dies"].reason == (
        "rank 1 was killed by SIGKILL (by the system, if memory ran out)"
    )
    assert "the worker was killed by SIGKILL" in (records["leader_dies"].reason or "")
    assert records["raises"].reason == "rank 1: ValueError: boom"
    assert records["leader_raises"].reason == "ValueError: boom"
    assert records["starves"].reason == "rank 1: CUDA out of memory"
    assert len(records["sharded"].wall_seconds) > 0


def test_a_rank_that_hangs_is_a_timeout(sweep: Sweep, tmp_path: Path) -> None:
    records = sweep.run(job_of(tmp_path, ["hangs"], 12))
    assert records["hangs"].status == "timeout"
    assert records["hangs"].reason == "no answer within 12 s"
