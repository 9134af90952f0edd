"""Benchmark and profiling suite for the claim that Para-Former's inference time is constant.

Plugins import `ModelSpec`, `Cost`, `Unsupported` and the three ``register_`` decorators from here,
and the parts of nets from `paraformer_bench.parts`; see ``docs/adding-a-model.md``. Notebooks read
runs with `load_run`; see ``docs/data.md``. Importing this package imports no torch and no pandas.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from paraformer_bench.study import __version__
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution, register_model, register_runtime

if TYPE_CHECKING:
    from paraformer_bench.load import LoadedRun

__all__ = [
    "Cost",
    "ModelSpec",
    "Unsupported",
    "__version__",
    "load_run",
    "register_execution",
    "register_model",
    "register_runtime",
]


def load_run(path: str | PathLike[str]) -> LoadedRun:
    """Read a run folder as tables; see `paraformer_bench.load.LoadedRun`.

    Raises:
        UsageError: It holds no readable run.
    """
    from paraformer_bench.load import load_run as load

    return load(path)
