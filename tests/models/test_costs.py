"""What each model states as its cost is what it holds and computes."""

from __future__ import annotations

import pytest
import torch

from paraformer_bench.instrument.counts import count
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import (
    Cost,
    block_flops,
    block_parameters,
    evaluate,
    fixed_flops,
    fixed_parameters,
)
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.registry import MODELS

SPECS = [
    ModelSpec(depth=1, width=64, heads=1, image=32),
    ModelSpec(depth=4, width=64, heads=1, image=64),
    ModelSpec(depth=5, width=48, heads=3, image=24, patch=8),
    ModelSpec(depth=4, width=64, heads=4, image=32, branch_depth=2),
    ModelSpec(depth=6, width=32, heads=2, image=16, patch=4, channels=1, classes=10, mlp_ratio=2),
    ModelSpec(depth=6, width=32, heads=2, image=16, branch_depth=6),
]


@pytest.mark.parametrize("name", MODELS.names())
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_parameters_and_work_are_as_stated(name: str, spec: ModelSpec) -> None:
    cost = MODELS.get(name).traits.cost
    assert cost is not None
    with torch.inference_mode():
        model = MODELS.get(name).factory(spec).eval()
        images = torch.randn(2, spec.channels, spec.image, spec.image)
        tokens = torch.randn(2, spec.tokens, spec.width)
        work = evaluate(cost.work, spec, batch=2)
        assert count(model.trunk, tokens).flops == work
        assert count(model, images).flops == work + fixed_flops(spec, batch=2)
    held = sum(p.numel() for p in model.parameters())
    assert held == evaluate(cost.parameters, spec, 1) + fixed_parameters(spec)


SPANS = {
    "serial": 6,
    "paraformer": 2,
    "paraformer_code": 2,
    "wide": 2,
    "truncated": 2,
    "parallel_vit": 2,
    "parallel_block": 6,
    "layer_pairs": 3,
    "picard": 2,
}
"""Blocks in sequence at depth 6 and branch depth 2."""


def test_every_span_is_as_stated() -> None:
    spec = ModelSpec(depth=6, width=64, heads=1, branch_depth=2)
    costs = {name: MODELS.get(name).traits.cost for name in SPANS}
    assert {n: evaluate(cost.span, spec, 1) for n, cost in costs.items() if cost} == SPANS


def test_the_closed_forms_at_the_reference_shape() -> None:
    """ViT-Ti (width 192, 12 blocks) is known to hold 5.7 M parameters and 1.3 GMACs."""
    spec = ModelSpec(depth=12, width=192, heads=3)
    assert spec.tokens == 197
    assert 12 * block_parameters(spec) + fixed_parameters(spec) == 5_717_416
    assert 12 * block_flops(spec, 1) + fixed_flops(spec, 1) == 2 * 1_253_683_200
    assert block_flops(spec, 8) == 8 * block_flops(spec, 1)


@pytest.mark.parametrize("formula", ["L *", "M", "__import__('os')", "L.bit_length", "1 / 0", ""])
def test_what_is_no_formula_is_refused(formula: str) -> None:
    with pytest.raises(UsageError, match=r"^work .* is no formula: "):
        Cost(span="L", work=formula, parameters="B").check()
