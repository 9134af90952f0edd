"""The serial reference: a pre-norm vision transformer."""

from __future__ import annotations

from torch import nn

from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.registry import register_model


@register_model("serial", cost=Cost(span="L", work="L*F", parameters="L*B"))
def build(spec: ModelSpec) -> nn.Module:
    """Pre-norm ViT: each of the L blocks receives what the one before it returned.

    x_0 = embedding, x_i = B_i(x_{i-1}), scores = head(x_L), with B_i of `Block`
    (Dosovitskiy et al., 2010.11929). Span L blocks, work L blocks.
    """
    return Net(spec, nn.Sequential(*(Block(spec) for _ in range(spec.depth))))
