"""PyTorch as it is: every operation is launched by Python."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from paraformer_bench.study.registry import register_runtime


@register_runtime("eager")
def wrap(call: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """Plain PyTorch: Python launches every operation, every time."""
    return call
