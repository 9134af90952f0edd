"""Para-Former with the serial reference's own blocks."""

from __future__ import annotations

from torch import nn

from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.models._branches import SumOfBranches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


@register_model("paraformer", branched=True, cost=Cost(span="k", work="L*F", parameters="L*B"))
def build(spec: ModelSpec) -> nn.Module:
    """Para-Former: every branch receives the embedding, the outputs are summed.

    scores = head(sum_i C_i(embedding)), where C_i is a chain of ``branch_depth`` blocks and
    depth = branches x branch_depth (Wang & Li, 2407.21670). At equal depth it holds the serial
    net's blocks, so its parameters and FLOPs are the same. Span ``branch_depth`` blocks, work
    L blocks.
    """
    chains = [
        nn.Sequential(*(Block(spec) for _ in range(spec.branch_depth)))
        for _ in range(spec.branches)
    ]
    return Net(spec, SumOfBranches(chains))
