"""Blocks whose attention and MLP do not wait for each other."""

from __future__ import annotations

from torch import Tensor, nn

from paraformer_bench.models._blocks import Attention, LayerNorm, Mlp, Net
from paraformer_bench.models._branches import SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


class ParallelBlock(nn.Module):
    """x + A(LN x) + M(LN x), with one norm."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.norm = LayerNorm(spec.width)
        self.sublayers = SumOfBranches(
            [Attention(spec.width, spec.heads), Mlp(spec.width, spec.hidden)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        return x + self.sublayers(self.norm(x))


@register_model(
    "parallel_block",
    branched=True,
    chained=False,
    cost=Cost(span="L", work="L*F", parameters="L*(B - 2*d)"),
)
def build(spec: ModelSpec) -> nn.Module:
    """Attention and MLP side by side in each block; the blocks one after the other.

    x_i = x_{i-1} + A_i(LN_i x_{i-1}) + M_i(LN_i x_{i-1}) (GPT-J; PaLM, Chowdhery et al.,
    2204.02311; ViT-22B, Dehghani et al., 2302.05442). The parallelism that is in use today:
    within a block, so the span is still L.
    """
    return Net(spec, nn.Sequential(*(ParallelBlock(spec) for _ in range(spec.depth))))
