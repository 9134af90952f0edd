"""A disk that fills up: one line says so, what is recorded is safe, and the run goes on later."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from paraformer_bench.study.run_folder import JOURNAL, PAGE, RECORDS, RUN, read_lines, read_run

pytestmark = pytest.mark.slow

SUITE = """
[protocol]
blocks = 1
rounds = 2
seconds_per_case = 0.02
target_relative_error = 0.5

[[grid]]
models = ["serial", "paraformer"]
depth = [1, 2, 4]
width = 64
tokens = 17
"""


def files_up_to(size: int) -> Callable[[], None]:
    """Return a preparation of a process in which no file can grow beyond ``size`` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_full_disk(cli, files, tmp_path: Path) -> None:
    suite = files.write(tmp_path / "full.toml", SUITE)
    run = tmp_path / "run"

    # The sweep itself runs out of room, after some of the six records.
    first = ["--profile", "none", "--device", "cpu", "--suite", suite, "--out", run]
    result = cli("sweep", *first, cwd=tmp_path, preexec_fn=files_up_to(8_000))
    saved = read_lines(run / RECORDS)
    assert 0 < len(saved) < 6
    assert all(line.endswith(b"\n") for line in saved)
    error = refusal(result)
    assert error.startswith(f"error: cannot write to {run}: File too large; {len(saved)} records")
    assert error.endswith(
        f"make room and go on with: python -m paraformer_bench sweep --resume --out {run}"
    )

    # There is no room for run.json: nothing is touched, the old file still stands.
    before = (run / RUN).read_bytes()
    result = cli("sweep", "--resume", "--out", run, cwd=tmp_path, preexec_fn=files_up_to(500))
    assert refusal(result).startswith(f"error: cannot write to {run}: File too large; ")
    assert (run / RUN).read_bytes() == before
    assert read_lines(run / RECORDS)[: len(saved)] == saved
    assert sorted(path.name for path in run.iterdir()) == sorted([RECORDS, RUN])

    # There is room for the records, not for the page.
    result = cli("sweep", "--resume", "--out", run, cwd=tmp_path, preexec_fn=files_up_to(20_000))
    assert "File too large" in refusal(result)
    assert read_lines(run / RECORDS)[: len(saved)] == saved
    records = files.records(run)
    assert len({record.key for record in records}) == len(records) == 6
    assert read_run(run).info.finished
    assert not (run / PAGE).exists()

    result = cli("sweep", "--resume", "--out", run, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert files.records(run) == records
    assert (run / PAGE).exists()
    assert not (run / JOURNAL).exists()


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on stderr of a command that was refused."""
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    [line] = result.stderr.splitlines()
    return line
