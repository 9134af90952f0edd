"""Starting this package's modules in a fresh Python process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_SCALE_LAUNCH_QUEUES",
    "CUDA_MODULE_LOADING",
    "CUBLAS_WORKSPACE_CONFIG",
    "TORCH_CUDNN_SDPA_DEPRIORITIZED",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ALLOC_CONF",
    "NVIDIA_TF32_OVERRIDE",
)
"""Environment variables that change what is measured."""


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``paraformer_bench.MODULE`` in this same Python."""
    return [sys.executable, "-m", f"paraformer_bench.{module}", *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment, with this very package first on the path.

    A checkout that is not installed then works from any working directory.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}


def how_it_ended(code: int | None) -> str:
    """Say in a predicate how a process ended.

    Args:
        code: Its return code, negative if a signal killed it; None if its parent stopped it.
    """
    if code is None:
        return "was stopped"
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (by the system, if memory ran out)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
