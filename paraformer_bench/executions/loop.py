"""The plain way: the model's own forward, one branch or layer after the other."""

from __future__ import annotations

from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.study.registry import register_execution


@register_execution("loop", needs_branches=False)
def prepare(model: nn.Module, example: Tensor) -> Forward:
    """The model's own forward: a Python loop over branches or layers.

    Operations grow linearly with depth. This is how the authors' single-GPU code runs.
    """
    return model
