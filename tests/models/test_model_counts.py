"""Equal parameters and FLOPs at equal depth, and equal to the closed forms."""

from __future__ import annotations

import pytest
import torch

from paraformer_bench.case import ModelSpec
from paraformer_bench.measure.counts import count
from paraformer_bench.models import _counts
from paraformer_bench.registry import MODELS

NAMES = ("serial", "paraformer", "paraformer_code")
SPECS = [
    ModelSpec(depth=1, width=64, heads=1, image=32),
    ModelSpec(depth=4, width=64, heads=1, image=64),
    ModelSpec(depth=4, width=48, heads=3, image=24, patch=8),
    ModelSpec(depth=4, width=64, heads=4, image=32, branch_depth=2),
    ModelSpec(depth=6, width=32, heads=2, image=16, patch=4, channels=1, classes=10, mlp_ratio=2),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_counts_equal_the_closed_forms(spec: ModelSpec) -> None:
    for name in NAMES:
        with torch.inference_mode():
            model = MODELS.get(name).factory(spec).eval()
            images = torch.randn(2, spec.channels, spec.image, spec.image)
            tokens = torch.randn(2, spec.tokens, spec.width)
            assert sum(p.numel() for p in model.parameters()) == _counts.parameters(spec)
            assert count(model, images).flops == _counts.flops(spec, batch=2)
            assert count(model.trunk, tokens).flops == _counts.trunk_flops(spec, batch=2)


def test_the_closed_forms_at_the_reference_shape() -> None:
    """ViT-Ti (width 192, 12 blocks) is known to hold 5.7 M parameters and 1.3 GMACs."""
    spec = ModelSpec(depth=12, width=192, heads=3)
    assert spec.tokens == 197
    assert _counts.parameters(spec) == 5_717_416
    assert _counts.flops(spec, batch=1) == 2 * 1_253_683_200
    assert _counts.flops(spec, batch=8) == 8 * _counts.flops(spec, batch=1)
