"""The sweep killed outright at random points: nothing on disk is lost, nothing comes twice."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from paraformer_bench.study.run_folder import JOURNAL, RECORDS, read_lines

pytestmark = pytest.mark.slow

BLOCKS = 3
CASES = 4
ROUNDS = 3
SUITE = f"""
[protocol]
blocks = {BLOCKS}
rounds = {ROUNDS}
seconds_per_case = 0.3
target_relative_error = 1e-6
timeout_seconds = 60

[[grid]]
models = ["serial", "held"]
depth = [1, 2]
width = 64
tokens = 17
"""

Samples = dict[tuple[str, int], list[float]]


def test_killed_again_and_again(cli, files, held, tmp_path: Path) -> None:
    suite = files.write(tmp_path / "killed.toml", SUITE)
    run = tmp_path / "run"
    journal, records = run / JOURNAL, run / RECORDS
    # A whole block journals CASES * (ROUNDS + 2) lines.
    lines = random.Random(4).randint(CASES + 2, CASES * ROUNDS)
    points: list[Callable[[], bool]] = [
        lambda: len(read_lines(journal)) >= lines,
        lambda: True,  # the worker is loading torch
        held.held.exists,  # the worker hangs, so that it cannot see that nobody listens
    ]
    arguments = ["--profile", "none", "--device", "cpu", "--suite", suite, "--plugin", held.plugin]
    saved = b""
    journaled: Samples = {}
    for reached in points:
        if reached == held.held.exists:
            held.gate.touch()
        process = cli.start("sweep", *arguments, "--out", run, cwd=tmp_path)
        arguments = ["--resume"]
        cli.wait_until(process, lambda process=process: bool(cli.workers(process)))
        cli.wait_until(process, reached)
        workers = cli.workers(process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert outlived(workers) == []
        on_disk = records.read_bytes()
        assert on_disk.startswith(saved), "a record that was on disk is gone"
        saved = on_disk[: on_disk.rfind(b"\n") + 1]
        journaled |= samples_in(journal)
    held.gate.unlink()
    assert journaled

    result = cli("sweep", "--resume", "--out", run, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert records.read_bytes().startswith(saved)
    assert not journal.exists()
    found = {record.key: record for record in files.records(run)}
    assert len(read_lines(records)) == len(found) == CASES * BLOCKS
    assert {record.block for record in found.values()} == set(range(BLOCKS))
    assert {record.status for record in found.values()} == {"ok"}
    # What had been sampled before a kill was kept to the last digit, and says so.
    for key, samples in journaled.items():
        assert found[key].wall_seconds == samples
        assert "interrupted" in found[key].flags
    whole = [record for key, record in found.items() if key not in journaled]
    assert all(len(r.rounds) == ROUNDS and "interrupted" not in r.flags for r in whole)


def outlived(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run after a patient wait; init may not have reaped the others."""
    left = processes
    for _ in range(100):
        left = [process for process in left if runs(process)]
        if not left:
            break
        psutil.wait_procs(left, timeout=0.3)
    return left


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def samples_in(journal: Path) -> Samples:
    """Return the samples of unfinished cases in a journal, by case and block."""
    samples: Samples = {}
    for line in read_lines(journal):
        if line.endswith(b"\n"):
            event = json.loads(line)
            key = event["case_id"], event["block"]
            if event["event"] == "sampled":
                samples.setdefault(key, []).extend(event["wall_seconds"])
            elif event["event"] == "finished":
                samples.pop(key)
    return samples
