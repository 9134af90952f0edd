"""A serial net whose consecutive blocks are merged in pairs."""

from __future__ import annotations

from torch import Tensor, nn

from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.models._branches import SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


class Pair(nn.Module):
    """Two blocks side by side, sharing one residual: B_1(x) + B_2(x) - x."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.blocks = SumOfBranches([Block(spec), Block(spec)])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        return self.blocks(x) - x


@register_model(
    "layer_pairs",
    branched=True,
    chained=False,
    cost=Cost(span="ceil(L / 2)", work="L*F", parameters="L*B"),
)
def build(spec: ModelSpec) -> nn.Module:
    """Layer parallelism: blocks 1 and 2 read the same input, then 3 and 4, and so on.

    x' = x + (B_1(x) - x) + (B_2(x) - x) for each pair (Calvo Gonzalez et al., "Leveraging the
    true depth of LLMs", 2502.02790; there the layers are a trained net's). With an odd L the last
    block stands alone. Half the span of the serial net: an answer between the two extremes.
    """
    steps: list[nn.Module] = [Pair(spec) for _ in range(spec.depth // 2)]
    if spec.depth % 2:
        steps.append(Block(spec))
    return Net(spec, nn.Sequential(*steps))
