"""The cheapest way to constant time: throw layers away."""

from __future__ import annotations

from torch import nn

from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


@register_model("truncated", chained=True, cost=Cost(span="k", work="k*F", parameters="k*B"))
def build(spec: ModelSpec) -> nn.Module:
    """The serial net cut after ``branch_depth`` blocks, however deep it was to be.

    x_0 = embedding, x_i = B_i(x_{i-1}), scores = head(x_k), with k = ``branch_depth``: the serial
    net (Dosovitskiy et al., 2010.11929) of the same span as a Para-Former's. Its time is constant
    by construction, and so is what it can compute: a parallel net must be worth more than this.
    """
    return Net(spec, nn.Sequential(*(Block(spec) for _ in range(spec.branch_depth))))
