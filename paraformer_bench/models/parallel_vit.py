"""Parallel sublayers: sums of attentions, then sums of MLPs."""

from __future__ import annotations

from torch import Tensor, nn

from paraformer_bench.models._blocks import AttentionSublayer, MlpSublayer, Net
from paraformer_bench.models._branches import SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


class ParallelSublayers(nn.Module):
    """h = x + sum_i A_i(LN x); return h + sum_i M_i(LN h)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.attentions = SumOfBranches([AttentionSublayer(spec) for _ in range(spec.branches)])
        self.mlps = SumOfBranches([MlpSublayer(spec) for _ in range(spec.branches)])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        x = x + self.attentions(x)
        return x + self.mlps(x)


@register_model("parallel_vit", branched=True, cost=Cost(span="k", work="L*F", parameters="L*B"))
def build(spec: ModelSpec) -> nn.Module:
    """Parallel ViT: groups of attentions side by side, then of MLPs side by side.

    h = x + sum_i A_i(LN_i x); x' = h + sum_i M_i(LN'_i h), ``branch_depth`` times over, with
    L / ``branch_depth`` branches each (Touvron et al., 2203.09795, section 3, there with groups
    of 2 or 3). The blocks' own parts and residuals of the serial net, so its parameters and
    FLOPs, in ``branch_depth`` steps.
    """
    groups = (ParallelSublayers(spec) for _ in range(spec.branch_depth))
    return Net(spec, nn.Sequential(*groups))
