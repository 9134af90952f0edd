"""`stacked` computes what `loop` computes, in operations that do not grow with depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.case import ModelSpec
from paraformer_bench.cost import block_flops
from paraformer_bench.errors import Unsupported
from paraformer_bench.measure.counts import Counts, count
from paraformer_bench.models._blocks import Block, Net
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.models.paraformer_code import NormedResidualBlock
from paraformer_bench.registry import EXECUTIONS, MODELS

MakePair = Callable[..., Any]
MODELS_WITH_BRANCHES = ("paraformer", "paraformer_code")


def error(left: Tensor, right: Tensor) -> float:
    left, right = left.double(), right.double()
    return float((left - right).norm() / right.norm())


@pytest.mark.parametrize("scope", ["whole", "trunk"])
@pytest.mark.parametrize("model", MODELS_WITH_BRANCHES)
@pytest.mark.parametrize("branch_depth", [1, 2, 4])
@pytest.mark.parametrize("branches", [1, 2, 3, 8])
@torch.inference_mode()
def test_stacked_equals_loop(
    make_pair: MakePair, scope: str, model: str, branch_depth: int, branches: int
) -> None:
    depth = branches * branch_depth
    for batch in (1, 3):
        for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            pair = make_pair(
                model, depth, scope=scope, batch=batch, dtype=dtype, branch_depth=branch_depth
            )
            for _ in range(2):  # nothing of the first call may leak into the second
                x = torch.randn_like(pair.x)
                kept = x.clone()
                output = pair.prepared(x)
                assert output.dtype == dtype
                assert output.shape == pair.loop(x).shape
                assert error(output, pair.loop(x)) < tolerance
                assert torch.equal(x, kept)


@pytest.mark.parametrize("model", MODELS_WITH_BRANCHES)
@pytest.mark.parametrize("branch_depth", [1, 2])
@torch.inference_mode()
def test_in_bfloat16_it_is_as_near_to_the_truth_as_the_loop(
    make_pair: MakePair, model: str, branch_depth: int
) -> None:
    pair = make_pair(model, 8, batch=2, dtype=torch.bfloat16, branch_depth=branch_depth)
    loop, stacked = pair.loop(pair.x), pair.prepared(pair.x)
    truth = pair.loop.double()(pair.x.double())
    assert error(stacked, truth) < 2 * error(loop, truth) < 0.05


@pytest.mark.parametrize("model", MODELS_WITH_BRANCHES)
@pytest.mark.parametrize("branch_depth", [1, 2])
@torch.inference_mode()
def test_the_wide_projection_of_gpus_gives_the_same(
    make_pair: MakePair, model: str, branch_depth: int
) -> None:
    for branches in (1, 3):
        pair = make_pair(
            model, branches * branch_depth, scope="trunk", batch=3, branch_depth=branch_depth
        )
        for level in pair.prepared.run.levels:
            level.attention.wide = True
        assert error(pair.prepared(pair.x), pair.loop(pair.x)) < 1e-12


@pytest.mark.parametrize("model", MODELS_WITH_BRANCHES)
@torch.inference_mode()
def test_the_model_still_computes_the_same_function(make_pair: MakePair, model: str) -> None:
    pair = make_pair(model, 6, branch_depth=2, batch=2)
    places = [module for module in pair.rewritten.modules() if isinstance(module, Branches)]
    for place in places:
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


def counts_at(make_pair: MakePair, execution: str, depth: int, **fields: Any) -> Counts:
    pair = make_pair("paraformer", depth, execution=execution, scope="trunk", **fields)
    with torch.inference_mode():
        return count(pair.prepared, pair.x)


@pytest.mark.parametrize("branch_depth", [1, 2])
def test_operations_do_not_grow_with_depth(make_pair: MakePair, branch_depth: int) -> None:
    at_2, at_64 = (
        counts_at(make_pair, "stacked", depth * branch_depth, branch_depth=branch_depth)
        for depth in (2, 64)
    )
    assert at_2.operations == at_64.operations
    assert at_64.operations <= 13 * branch_depth
    assert at_64.flops == 32 * at_2.flops


def test_operations_of_the_loop_are_linear_in_depth(make_pair: MakePair) -> None:
    at = {depth: counts_at(make_pair, "loop", depth).operations for depth in (1, 2, 3, 64)}
    step = at[2] - at[1]
    assert step > 5
    assert at[3] - at[2] == step
    assert at[64] == at[1] + 63 * step


def test_the_arithmetic_is_that_of_the_loop(make_pair: MakePair) -> None:
    spec = ModelSpec(depth=6, width=32, heads=2, image=24, patch=8)
    for branch_depth in (1, 2):
        for batch in (1, 3):
            flops = counts_at(
                make_pair, "stacked", 6, batch=batch, branch_depth=branch_depth
            ).flops
            assert flops == 6 * block_flops(spec, batch)


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


@pytest.mark.parametrize("model", MODELS_WITH_BRANCHES)
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_weights_are_held_once(make_pair: MakePair, model: str, branch_depth: int) -> None:
    pair = make_pair(model, 8, scope="trunk", branch_depth=branch_depth)
    parameters = list(pair.rewritten.parameters())
    size = sum(p.numel() * p.element_size() for p in parameters)
    held = storages(tensors_in(pair.prepared.run))
    assert sum(storages(parameters).values()) == size
    # All that is held beyond the parameters is the sum over branches of the last biases.
    assert sum((storages(parameters) | held).values()) == size + 32 * 8
    assert len(held) == 12 * branch_depth + 1


@pytest.mark.parametrize("model", MODELS_WITH_BRANCHES)
def test_the_old_weights_are_freed(make_pair: MakePair, model: str) -> None:
    spec = ModelSpec(depth=4, width=32, heads=2, image=16)
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


def test_it_needs_branches() -> None:
    assert EXECUTIONS.get("stacked").branches


@torch.inference_mode()
def test_gelu_in_place_is_gelu() -> None:
    """It is no public function; what it computes has to be watched."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = torch.randn(3, 17, 64, dtype=dtype)
        expected = nn.functional.gelu(x)
        assert torch.equal(torch.ops.aten.gelu_(x), expected)
        assert torch.equal(x, expected)
