"""The method page can be followed: its script judges the example run as the package does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from paraformer_bench.study.run_folder import read_run

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "reports" / "example-cpu"


def test_the_verdict_by_hand_is_the_verdict() -> None:
    [script] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    verdicts = json.loads((EXAMPLE / "verdicts.json").read_text(encoding="utf-8"))
    expected = [
        f"{v['model']} {v['execution']} {v['runtime']} {v['verdict']} constant up to "
        f"{v['constant_up_to']}, {v['worst']['ratio']:.4f}x from depth {v['worst']['from']} to "
        f"{v['worst']['to']}"
        for v in verdicts
        if v["basis"] == "wall"
    ]
    assert sorted(done.stdout.splitlines()) == sorted(expected)
    assert len(expected) >= 3


def test_the_script_uses_the_rule_of_the_example() -> None:
    claim = read_run(EXAMPLE).info.suite["claim"]
    assert claim == {"margin": 0.10, "confidence": 0.95}
    assert "MARGIN, CONFIDENCE = 0.10, 0.95" in TEXT


def test_every_file_that_the_page_names_is_there() -> None:
    rooms = "analysis|instrument|sweep|report|study|clusters|timeline|history"
    for path in re.findall(rf"`((?:{rooms})/\w+\.py)`", TEXT):
        assert (ROOT / "paraformer_bench" / path).exists(), path
