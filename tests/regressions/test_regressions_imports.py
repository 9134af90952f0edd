from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import paraformer_bench.regressions as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
banned = ("torch", "asv", *(f"paraformer_bench.{name}" for name in ("sweep", "measure", "report")))
print([name for name in sys.modules if name.split(".")[0] in banned or name.startswith(banned[2:])])
"""


def test_the_gate_imports_no_torch_no_asv_and_no_instrument() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
