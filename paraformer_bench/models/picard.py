"""The serial net itself, evaluated in parallel over depth by fixed-point iteration."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.models._branches import EachBranch
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


class PicardTrunk(nn.Module):
    """K Picard iterations over the L blocks of a serial trunk, (batch, tokens, width) to the same.

    Each of the serial net's blocks receives its own estimate of what it would receive there.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.blocks = EachBranch([Block(spec) for _ in range(spec.depth)])
        self.iterations = spec.branch_depth

    def forward(self, x: Tensor) -> Tensor:
        """Iterate from the embedding ``x``."""
        depth = len(self.blocks.branches)
        inputs = x.expand(depth, *x.shape)
        for iteration in range(self.iterations):
            updates = self.blocks(inputs) - inputs
            if iteration + 1 < self.iterations:
                sums = updates[:-1].cumsum(0)
                inputs = torch.cat((x[None], x + sums))
        return x + updates.sum(0)


@register_model("picard", branched=True, cost=Cost(span="k", work="k*L*F", parameters="L*B"))
def build(spec: ModelSpec) -> nn.Module:
    """K Picard iterations over depth, K = ``branch_depth``: parallel depth that converges.

    With f_i(x) = B_i(x) - x, the serial net is x_i = x_0 + sum_{j <= i} f_j(x_{j-1}). Iterate
    x_i^{(m+1)} = x_0 + sum_{j <= i} f_j(x_{j-1}^{(m)}) from x_i^{(0)} = x_0 = embedding; the
    scores are head(x_L^{(K)}) (Picard iteration over depth: 2310.01618, 2509.21716). K = L gives
    the serial net exactly; K = 1 gives the Para-Former sum less L - 1 copies of the embedding.
    Span K blocks, work K x L blocks.
    """
    return Net(spec, PicardTrunk(spec))
