"""A run is judged, reported and compared where neither torch nor the instrument is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.analysis import write
from paraformer_bench.study import child
from paraformer_bench.study.run_folder import read_run

SCRIPT = """
import sys

class Bare:
    def find_spec(self, name, path=None, target=None):
        ours = ("paraformer_bench.instrument", "paraformer_bench.sweep")
        if name.partition(".")[0] in ("torch", "pynvml") or name.startswith(ours):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Bare())
from paraformer_bench.__main__ import main

code = main(["report", "run"]) or main(["compare", "run", "run", "--out", "compared.html"])
assert "torch" not in sys.modules
sys.exit(code)
"""


def test_a_run_is_reported_and_compared_in_a_bare_environment(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder, 2_800)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=child.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    verdicts = json.loads((folder / "verdicts.json").read_text())
    assert len(verdicts) == 10 * 2 * 2  # ten batches, two nets, two bases
    assert {v["verdict"] for v in verdicts} == {"grows"}
    assert all(v["without_flagged"]["records"] == 7 for v in verdicts)
    assert "SLOWER" not in (tmp_path / "compared.html").read_text()


def test_equal_cases_are_one_object_that_names_itself_once(tmp_path: Path) -> None:
    write(tmp_path, 280)
    records = read_run(tmp_path).records
    assert len({id(record.case) for record in records}) == 14
    assert records[0].case.id is records[1].case.id
