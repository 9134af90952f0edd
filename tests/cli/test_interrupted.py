"""Ctrl-C and a polite kill: what was measured is reported, and the printed command goes on."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shlex
import signal
import subprocess
import termios
from pathlib import Path
from typing import Any

import psutil
import pytest

from paraformer_bench.study.run_folder import JOURNAL, PAGE, RECORDS, RUN, VERDICTS, read_lines
from tests.conftest import heed_signals

pytestmark = pytest.mark.slow

SUITE = """
[protocol]
blocks = 2
rounds = 2
seconds_per_case = 0.1
timeout_seconds = 100

[[grid]]
models = ["serial", "paraformer", "held"]
depth = [1, 2]
width = 64
tokens = 17
"""


def test_interrupted_early_and_late(cli, files, held, tmp_path: Path) -> None:
    held.gate.touch()  # while it is there, no block can come to its end
    suite = files.write(tmp_path / "interrupted.toml", SUITE)
    run = tmp_path / "a run"  # a folder that the printed command must quote

    arguments = ["--profile", "none", "--device", "cpu", "--suite", suite, "--plugin", held.plugin]
    process = cli.start("sweep", *arguments, "--out", run, cwd=tmp_path)
    cli.wait_until(process, lambda: bool(cli.workers(process)))
    assert ended_by(process, signal.SIGINT, run) == []

    process = cli.start("sweep", "--resume", "--out", run, cwd=tmp_path)
    cli.wait_until(process, held.held.exists)
    before = (run / RUN).read_bytes()
    other = cli("sweep", "--resume", "--out", run, cwd=tmp_path)
    assert (other.returncode, other.stderr) == (
        2,
        f"error: another sweep is writing to {run}\n",
    )
    assert (run / RUN).read_bytes() == before
    measured = sampled(run)
    verdicts = ended_by(process, signal.SIGTERM, run)
    # In this plan other cases come before the held ones.
    assert 0 < sum(len(verdict["depths"]) for verdict in verdicts) == measured
    assert not (run / JOURNAL).exists()
    saved = (run / RECORDS).read_bytes()

    held.gate.unlink()
    result = cli("sweep", "--resume", "--out", run, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (run / RECORDS).read_bytes().startswith(saved)
    records = files.records(run)
    assert len({record.key for record in records}) == len(records) == 6 * 2
    assert {record.status for record in records} == {"ok"}
    assert sum("interrupted" in record.flags for record in records) == measured
    assert json.loads((run / RUN).read_text())["finished"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_killed_while_torch_loads(cli, tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"
    process = cli.start("sweep", "--suite", "smoke", "--out", run, cwd=tmp_path)
    # By the time there is a child, the sweep has begun.
    cli.wait_until(process, lambda: bool(psutil.Process(process.pid).children()))
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors.strip()) == (130, "interrupted")
    assert not run.exists()


def test_lost_terminal(cli, files, held, tmp_path: Path) -> None:
    """The sweep is told once, and whatever it writes from then on is an error."""
    held.gate.touch()
    suite = files.write(tmp_path / "lost.toml", SUITE)
    run = tmp_path / "run"
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        heed_signals()
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    arguments = ["--profile", "none", "--device", "cpu", "--suite", suite, "--plugin", held.plugin]
    process = cli.start(
        *("sweep", *arguments, "--out", run),
        cwd=tmp_path,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    cli.wait_until(process, held.held.exists)
    os.close(ours)
    assert process.wait(timeout=100) == 130
    assert (run / PAGE).stat().st_size > 0
    assert not (run / JOURNAL).exists()
    assert json.loads((run / RUN).read_text())["finished"] is None


def sampled(run: Path) -> int:
    """Cases under way that have samples."""
    lines = [json.loads(line) for line in read_lines(run / JOURNAL) if line.endswith(b"\n")]
    return len({line["case_id"] for line in lines if line["event"] == "sampled"})


def ended_by(process: subprocess.Popen[str], number: int, run: Path) -> list[dict[str, Any]]:
    """Send the signal, check what the command leaves behind, and return its verdicts."""
    process.send_signal(number)
    output, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (130, "")
    last = output.splitlines()[-1]
    assert last.startswith("interrupted; resume with: ")
    command = shlex.split(last.partition(": ")[2])
    assert command == ["python", "-m", "paraformer_bench", "sweep", "--resume", "--out", str(run)]
    assert (run / PAGE).stat().st_size > 0
    assert json.loads((run / RUN).read_text())["finished"] is None
    verdicts: list[dict[str, Any]] = json.loads((run / VERDICTS).read_text())
    return verdicts
