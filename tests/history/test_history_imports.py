from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, pkgutil, sys
import paraformer_bench.history as package
for module in pkgutil.iter_modules(package.__path__):
    importlib.import_module(f"{package.__name__}.{module.name}")
banned = ("torch", "asv", "paraformer_bench.sweep", "paraformer_bench.instrument")
print([n for n in sys.modules if n.startswith(tuple(f"{b}." for b in banned)) or n in banned])
"""


def test_the_gate_imports_no_torch_no_asv_and_no_instrument() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
