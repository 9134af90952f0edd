"""Training and inference measured in one sweep, through the real command line."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SUITE = """
[protocol]
blocks = 1
rounds = 2
seconds_per_case = 0.02
timeout_seconds = 60

[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
depth = [1, 2]
width = 64
tokens = 17
mode = ["inference", "train"]

[[grid]]
models = "serial"
depth = 1
width = 64
tokens = 17
mode = "train"
dtype = "float16"
"""


def test_both_modes_in_one_worker(cli, files, tmp_path: Path) -> None:
    suite = files.write(tmp_path / "both.toml", SUITE)
    result = cli(
        "sweep",
        "--profile",
        "none",
        "--device",
        "cpu",
        "--suite",
        suite,
        "--out",
        "run",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "On cpu" in result.stdout
    assert "inference time is not settled yet" in result.stdout
    assert "training time is not settled yet" in result.stdout
    records = files.records(tmp_path / "run")
    (float16,) = (r for r in records if r.case.dtype == "float16")
    assert float16.status == "skipped"
    assert "loss scaler" in float16.reason
    by_mode = {
        mode: {r.case.method.name + str(r.case.depth): r for r in records if r.case.mode == mode}
        for mode in ("inference", "train")
    }
    assert len(by_mode["inference"]) == 6
    for name, inference in by_mode["inference"].items():
        training = by_mode["train"][name]
        assert (inference.status, training.status) == ("ok", "ok")
        assert len(training.wall_seconds) > 1
        assert training.relative_error < 1e-4
        assert 2.5 * inference.flops < training.flops < 3.5 * inference.flops
        assert training.operations > 3 * inference.operations
    page = (tmp_path / "run" / "index.html").read_text(encoding="utf-8")
    assert "Does inference and training time stay constant as the net gets deeper?" in page
