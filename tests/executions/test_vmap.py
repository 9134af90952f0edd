"""`vmap` computes what `loop` computes, from weights that are held once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from paraformer_bench.models._branches import Branches
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS

MakePair = Callable[..., Any]
VMAPPABLE = ("paraformer", "paraformer_code", "parallel_vit", "picard")
"""The models with branches of one kind whose branch depth may be chosen."""

# What it says is watched by test_operations.py.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


def places(net: nn.Module) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, Branches)]


@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("model", VMAPPABLE)
@pytest.mark.parametrize("branch_depth", [1, 2, 4])
@torch.inference_mode()
def test_vmap_equals_loop(
    assert_equals_loop: Callable[..., None], scope: str, model: str, branch_depth: int
) -> None:
    for branches in (1, 3):
        for batch in (1, 3):
            assert_equals_loop(
                model,
                branches * branch_depth,
                1e-12,
                execution="vmap",
                scope=scope,
                batch=batch,
                branch_depth=branch_depth,
            )


@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("depth", [2, 3, 8])
@torch.inference_mode()
def test_vmapped_pairs_of_layers_equal_the_loop(
    assert_equals_loop: Callable[..., None], scope: str, depth: int
) -> None:
    for batch in (1, 3):
        assert_equals_loop("layer_pairs", depth, 1e-12, execution="vmap", scope=scope, batch=batch)


@pytest.mark.parametrize("model", VMAPPABLE)
@torch.inference_mode()
def test_other_precisions_work_too(assert_equals_loop: Callable[..., None], model: str) -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        assert_equals_loop(
            model, 4, tolerance, execution="vmap", dtype=dtype, batch=2, branch_depth=2
        )


@torch.inference_mode()
def test_outputs_of_two_calls_do_not_share_memory(make_pair: MakePair) -> None:
    pair = make_pair("paraformer", 4, execution="vmap", scope="trunk")
    first = pair.prepared(pair.x)
    kept = first.clone()
    pair.prepared(torch.randn_like(pair.x))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("model", [*VMAPPABLE, "layer_pairs"])
@pytest.mark.parametrize("branch_depth", [1, 2])
@torch.inference_mode()
def test_weights_are_held_once_and_the_model_is_as_it_was(
    make_pair: MakePair, model: str, branch_depth: int
) -> None:
    pair = make_pair(model, 8, execution="vmap", scope="trunk", branch_depth=branch_depth)
    weights = [weight for place in places(pair.rewritten) for weight in place.run.weights]
    parameters = list(pair.rewritten.parameters())
    assert sum(w.numel() for w in weights) == sum(p.numel() for p in parameters)
    storages = {weight.untyped_storage().data_ptr() for weight in weights}
    assert {parameter.untyped_storage().data_ptr() for parameter in parameters} == storages
    assert len(storages) == len(weights)
    for parameter, original in zip(parameters, pair.loop.parameters(), strict=True):
        assert torch.equal(parameter, original)


@torch.inference_mode()
def test_blocks_with_two_kinds_of_branches_are_left_alone() -> None:
    spec = ModelSpec(depth=2, width=16, heads=1, image=16)
    net = MODELS.get("parallel_block").factory(spec).eval()
    before = [(p.data_ptr(), p.clone()) for p in net.parameters()]
    with pytest.raises(Unsupported, match="one kind"):
        EXECUTIONS.get("vmap").factory(net, torch.zeros(1, 3, 16, 16))
    assert all(place.run is None for place in places(net))
    for parameter, (address, value) in zip(net.parameters(), before, strict=True):
        assert parameter.data_ptr() == address
        assert torch.equal(parameter, value)


def test_it_needs_branches_and_runs_everywhere() -> None:
    assert EXECUTIONS.get("vmap").traits.needs_branches
    assert EXECUTIONS.get("vmap").traits.devices == ("cpu", "cuda")
