"""The key control: no branches at all, only more width."""

from __future__ import annotations

from torch import nn

from paraformer_bench.models._blocks import Attention, Block, Mlp, Net
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


class WideBlock(Block):
    """A block with the heads and hidden units of several."""

    def __init__(self, spec: ModelSpec, blocks: int) -> None:
        super().__init__(spec)
        self.attention = Attention(spec.width, blocks * spec.heads, blocks * spec.width)
        self.mlp = Mlp(spec.width, blocks * spec.hidden)


@register_model(
    "wide",
    chained=True,
    cost=Cost(span="k", work="L*F", parameters="L*B - 6*d*(L - k)"),
)
def build(spec: ModelSpec) -> nn.Module:
    """One block with all heads and hidden units of L blocks: is parallel depth just width?

    scores = head(W_k(... W_1(embedding))), where W_i is a pre-norm block with L/k x heads heads
    and L/k x hidden hidden units and k is ``branch_depth``. It holds the matrix weights of L
    blocks, but one norm and one output bias where L/k branches have one each.
    """
    return Net(
        spec, nn.Sequential(*(WideBlock(spec, spec.branches) for _ in range(spec.branch_depth)))
    )
