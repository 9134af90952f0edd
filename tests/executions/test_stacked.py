"""`stacked` computes what `loop` computes, in operations that do not grow with depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.executions.stacked import StackedAttention
from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.models.paraformer_code import NormedResidualBlock
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS, MODELS

MakePair = Callable[..., Any]
STACKABLE = ("paraformer", "paraformer_code", "parallel_vit", "picard")
"""The models with branches of one kind whose branch depth may be chosen."""


def error(left: Tensor, right: Tensor) -> float:
    left, right = left.double(), right.double()
    return float((left - right).norm() / right.norm())


def places(net: nn.Module) -> list[Any]:
    return [module for module in net.modules() if isinstance(module, Branches)]


@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("model", STACKABLE)
@pytest.mark.parametrize("branch_depth", [1, 2, 4])
@pytest.mark.parametrize("branches", [1, 2, 5])
@torch.inference_mode()
def test_stacked_equals_loop(
    assert_equals_loop: Callable[..., None],
    scope: str,
    model: str,
    branch_depth: int,
    branches: int,
) -> None:
    for batch in (1, 3):
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            assert_equals_loop(
                model,
                branches * branch_depth,
                tolerance,
                scope=scope,
                batch=batch,
                dtype=dtype,
                branch_depth=branch_depth,
            )


@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("depth", [2, 3, 8])
@torch.inference_mode()
def test_stacked_pairs_of_layers_equal_the_loop(
    assert_equals_loop: Callable[..., None], scope: str, depth: int
) -> None:
    for batch in (1, 3):
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            assert_equals_loop(
                "layer_pairs", depth, tolerance, scope=scope, batch=batch, dtype=dtype
            )


@pytest.mark.parametrize("model", STACKABLE)
@pytest.mark.parametrize("branch_depth", [1, 2])
@torch.inference_mode()
def test_in_bfloat16_it_is_as_near_to_the_truth_as_the_loop(
    make_pair: MakePair, model: str, branch_depth: int
) -> None:
    pair = make_pair(model, 8, batch=2, dtype=torch.bfloat16, branch_depth=branch_depth)
    loop, stacked = pair.loop(pair.x), pair.prepared(pair.x)
    truth = pair.loop.double()(pair.x.double())
    # A few outputs in half precision: how near they are is chance within a factor of about two.
    assert error(stacked, truth) < 3 * error(loop, truth) < 0.06


def stacked_attentions(net: nn.Module) -> list[Any]:
    found: list[Any] = []
    for place in places(net):
        levels = getattr(place.run, "levels", [])
        found += [level.attention for level in levels] or [place.run]
    return [part for part in found if isinstance(part, StackedAttention)]


@pytest.mark.parametrize("model", [*STACKABLE, "layer_pairs"])
@pytest.mark.parametrize("branch_depth", [1, 2])
@torch.inference_mode()
def test_the_wide_projection_of_gpus_gives_the_same(
    make_pair: MakePair, model: str, branch_depth: int
) -> None:
    for branches in (2, 3, 1):
        depth = branches * branch_depth
        if model == "layer_pairs" and depth == 1:
            continue  # a single block, no branches
        pair = make_pair(model, depth, scope="trunk", batch=3, branch_depth=branch_depth)
        assert stacked_attentions(pair.rewritten)
        for attention in stacked_attentions(pair.rewritten):
            attention.wide = True
        assert error(pair.prepared(pair.x), pair.loop(pair.x)) < 1e-12


@pytest.mark.parametrize("model", STACKABLE)
@torch.inference_mode()
def test_the_model_still_computes_the_same_function(make_pair: MakePair, model: str) -> None:
    pair = make_pair(model, 6, branch_depth=2, batch=2)
    for place in places(pair.rewritten):
        place.run = None
    assert error(pair.rewritten(pair.x), pair.loop(pair.x)) < 1e-12
    # Preparing it once more changes nothing either.
    again = EXECUTIONS.get("stacked").factory(pair.rewritten, pair.x)
    assert error(again(pair.x), pair.loop(pair.x)) < 1e-12


@torch.inference_mode()
def test_outputs_of_two_calls_do_not_share_memory(make_pair: MakePair) -> None:
    pair = make_pair("paraformer", 4, scope="trunk")
    first = pair.prepared(pair.x)
    kept = first.clone()
    pair.prepared(torch.randn_like(pair.x))
    assert torch.equal(first, kept)


def storages(tensors: Any) -> dict[int, int]:
    """Bytes of the distinct storages under some tensors, by address."""
    return {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}


def tensors_in(thing: object) -> Iterator[Tensor]:
    """Every tensor that an object of ours refers to, however deep."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from tensors_in(part)
    elif type(thing).__module__.startswith("paraformer_bench"):
        yield from tensors_in(list(vars(thing).values()))


@pytest.mark.parametrize("model", [*STACKABLE, "layer_pairs"])
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_weights_are_held_once(make_pair: MakePair, model: str, branch_depth: int) -> None:
    pair = make_pair(model, 8, scope="trunk", branch_depth=branch_depth)
    parameters = list(pair.rewritten.parameters())
    size = sum(p.numel() * p.element_size() for p in parameters)
    runs = [place.run for place in places(pair.rewritten)]
    held = storages(tensors_in(runs))
    assert sum(storages(parameters).values()) == size
    # All that is held beyond the parameters is the sum over branches of the last biases.
    sums = sum(isinstance(place, SumOfBranches) for place in places(pair.rewritten))
    assert sum((storages(parameters) | held).values()) == size + sums * 32 * 8
    weights = [weight for run in runs for weight in run.weights]
    assert storages(weights).keys() == storages(parameters).keys()
    assert len(held) == len(weights) + sums


@pytest.mark.parametrize("model", STACKABLE)
def test_the_old_weights_are_freed(make_pair: MakePair, model: str) -> None:
    spec = ModelSpec(depth=4, width=32, heads=2, image=16, branch_depth=2)
    trunk = MODELS.get(model).factory(spec).trunk.requires_grad_(False)
    old = [p.untyped_storage().data_ptr() for p in trunk.parameters()]
    EXECUTIONS.get("stacked").factory(trunk, torch.zeros(1, spec.tokens, 32))
    assert len(storages(trunk.parameters())) < len(old)


class Oddity(Block):
    """A block that no execution knows."""


SPEC = ModelSpec(depth=2, width=16, heads=1, image=16)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 2), "no branches"),
        (Net(SPEC, nn.Sequential(Block(SPEC))), "no branches"),
        (
            SumOfBranches([nn.Sequential(Block(SPEC)), nn.Sequential(NormedResidualBlock(SPEC))]),
            "one kind of block",
        ),
        (
            SumOfBranches([nn.Sequential(Block(SPEC)), nn.Sequential(Block(SPEC), Block(SPEC))]),
            "equal length",
        ),
        (SumOfBranches([nn.Sequential(Oddity(SPEC))]), "Oddity"),
        (SumOfBranches([nn.Sequential(nn.Linear(16, 16))]), "Linear"),
    ],
    ids=["no trunk", "serial", "mixed blocks", "mixed lengths", "subclass", "no block"],
)
def test_what_it_cannot_stack_is_left_alone(model: nn.Module, words: str) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(Unsupported, match=words):
        EXECUTIONS.get("stacked").factory(model, torch.zeros(1))
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@torch.inference_mode()
def test_blocks_with_two_kinds_of_branches_are_left_alone() -> None:
    net = MODELS.get("parallel_block").factory(SPEC).eval()
    before = [(p.data_ptr(), p.clone()) for p in net.parameters()]
    with pytest.raises(Unsupported, match="one kind of block"):
        EXECUTIONS.get("stacked").factory(net, torch.zeros(1, 3, 16, 16))
    assert all(place.run is None for place in places(net))
    for parameter, (address, value) in zip(net.parameters(), before, strict=True):
        assert parameter.data_ptr() == address
        assert torch.equal(parameter, value)


def test_it_needs_branches() -> None:
    assert EXECUTIONS.get("stacked").traits.needs_branches


@torch.inference_mode()
def test_gelu_in_place_is_gelu() -> None:
    """It is no public function; what it computes has to be watched."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = torch.randn(3, 17, 64, dtype=dtype)
        expected = nn.functional.gelu(x)
        assert torch.equal(torch.ops.aten.gelu_(x), expected)
        assert torch.equal(x, expected)
