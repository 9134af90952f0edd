from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import paraformer_bench.analysis as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
banned = ("torch", "paraformer_bench.sweep", "paraformer_bench.instrument")
print([name for name in sys.modules if name.startswith(banned)])
"""


def test_analysis_imports_no_torch_and_no_instrument() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
