"""Benchmark and profiling suite for the claim that Para-Former's inference time is constant.

Plugins import `ModelSpec`, `Cost`, `Unsupported` and the three ``register_`` decorators from here,
and the parts of nets from `paraformer_bench.parts`; see ``docs/adding-a-model.md``. Importing this
package imports no torch.
"""

from paraformer_bench.case import ModelSpec
from paraformer_bench.cost import Cost
from paraformer_bench.errors import Unsupported
from paraformer_bench.registry import register_execution, register_model, register_runtime

__version__ = "0.1.0"

__all__ = [
    "Cost",
    "ModelSpec",
    "Unsupported",
    "__version__",
    "register_execution",
    "register_model",
    "register_runtime",
]
