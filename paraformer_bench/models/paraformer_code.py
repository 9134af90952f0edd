"""Para-Former as its authors' published code computes it."""

from __future__ import annotations

from torch import Tensor, nn

from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.models._branches import SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


class NormedResidualBlock(Block):
    """A block whose residuals start at the norm: y = LN x; h = A(y) + y; z = LN h; M(z) + z.

    Parameters and matrix products are those of `Block`; only what is added back differs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        y = self.norm_attention(x)
        z = self.norm_mlp(self.attention(y) + y)
        return self.mlp(z) + z


@register_model(
    "paraformer_code", branched=True, cost=Cost(span="k", work="L*F", parameters="L*B")
)
def build(spec: ModelSpec) -> nn.Module:
    """Para-Former with each sublayer F(LN x) + LN x, as in the authors' published code.

    The paper's text has identity residuals (see ``paraformer``); the code published with it
    (Wang & Li, 2407.21670) adds back the normed input. Span and work are the same.
    """
    chains = [
        nn.Sequential(*(NormedResidualBlock(spec) for _ in range(spec.branch_depth)))
        for _ in range(spec.branches)
    ]
    return Net(spec, SumOfBranches(chains))
