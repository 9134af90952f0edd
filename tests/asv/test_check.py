"""asv itself takes the configuration: it builds the last commit and imports the benchmarks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("asv")

from asv.util import load_json

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_asv_check_finds_no_problem_without_a_network_or_a_gpu(tmp_path: Path) -> None:
    head = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    if subprocess.run(head, capture_output=True, check=False).returncode:
        pytest.skip("not in a repository")
    conf = load_json(str(ROOT / "asv.conf.json"), js_comments=True)
    conf |= {"repo": str(ROOT), "benchmark_dir": str(ROOT / conf["benchmark_dir"])}
    conf |= {"env_dir": str(tmp_path / "env"), "results_dir": str(tmp_path / "results")}
    (tmp_path / "asv.conf.json").write_text(json.dumps(conf), encoding="utf-8")
    offline = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://127.0.0.1:9", "http_proxy": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "asv", "check"],
        cwd=tmp_path,
        env=os.environ | offline | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problems found." in done.stdout
    # The commit was built and installed there, and nothing else but what makes an environment.
    (packages,) = (tmp_path / "env").glob("*/lib*/**/site-packages")
    names = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert "paraformer_bench" in names
    assert names <= {"paraformer_bench", "pip", "setuptools", "wheel"}
