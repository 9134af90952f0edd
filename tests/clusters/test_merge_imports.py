from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import paraformer_bench.clusters.merge
banned = ("torch", "paraformer_bench.instrument", "paraformer_bench.models")
print([name for name in sys.modules if name.startswith(banned)])
"""


def test_merging_needs_no_torch_and_no_instrument() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
