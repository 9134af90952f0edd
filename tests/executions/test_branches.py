"""What holds for every execution that puts another way of running in the place of branches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.models._blocks import AttentionSublayer, Block, Mlp
from paraformer_bench.models._branches import Branches, EachBranch, SumOfBranches
from paraformer_bench.models.layer_pairs import Pair
from paraformer_bench.models.paraformer_code import NormedResidualBlock
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import EXECUTIONS

SPEC = ModelSpec(depth=2, width=16, heads=2, image=16)
X = torch.randn(2, 5, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
EVERY = ("stacked", "vmap", "streams")
ON_CPU = ("stacked", "vmap")

# What it says is watched by test_operations.py.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


def frozen(net: nn.Module) -> Any:
    """``net`` as a worker has it: not trained, here in float64."""
    return net.double().eval().requires_grad_(False)


def sum_of(*branches: nn.Module) -> Any:
    return frozen(SumOfBranches(branches))


def prepare(execution: str, net: nn.Module) -> Any:
    return EXECUTIONS.get(execution).factory(net, X)


def error(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm().detach() / right.norm().detach())


def state(net: nn.Module) -> list[object]:
    """All that an execution may change: where weights lie, their values, and how places run."""
    runs: list[object] = [m.run for m in net.modules() if isinstance(m, Branches)]
    memory = [(p.data_ptr(), p.stride(), p.requires_grad) for p in net.parameters()]
    return [*runs, *memory, *(p.detach().clone().tolist() for p in net.parameters())]


def assert_declined(execution: str, net: nn.Module, words: str) -> None:
    before = state(net)
    with pytest.raises(Unsupported, match=words):
        prepare(execution, net)
    assert state(net) == before


@pytest.mark.parametrize("execution", EVERY)
@pytest.mark.parametrize("net", [nn.Linear(2, 2), nn.Sequential(Block(SPEC))])
def test_without_branches_it_is_declined(execution: str, net: nn.Module) -> None:
    assert_declined(execution, net, "no branches")


def mixed_lengths() -> nn.Module:
    return SumOfBranches([Block(SPEC), nn.Sequential(Block(SPEC), Block(SPEC))])


@pytest.mark.parametrize("execution", ON_CPU)
@pytest.mark.parametrize("first", [True, False])
def test_a_place_that_cannot_be_run_leaves_all_others_alone(execution: str, first: bool) -> None:
    places = [Pair(SPEC), EachBranch([Block(SPEC)]), mixed_lengths()]
    assert_declined(
        execution, frozen(nn.Sequential(*(reversed(places) if first else places))), "one kind"
    )


@pytest.mark.parametrize("execution", ON_CPU)
def test_a_place_that_cannot_be_run_leaves_what_was_prepared_before(execution: str) -> None:
    good, bad = frozen(Pair(SPEC)), frozen(mixed_lengths())
    expected = good(X)
    prepare(execution, good)
    assert_declined(execution, nn.Sequential(good, bad), "one kind")
    assert error(good(X), expected) < 1e-14


def other_heads() -> nn.Module:
    """The same parameters and code, read differently."""
    block = Block(SPEC)
    block.attention.heads = 4
    return block


def other_epsilon() -> nn.Module:
    block = Block(SPEC)
    block.norm_mlp.eps = 0.1
    return block


def other_hidden() -> nn.Module:
    """One hidden unit: its weights would broadcast into the place of any others."""
    block = Block(SPEC)
    block.mlp = Mlp(16, 1)
    return block


def other_precision() -> nn.Module:
    block = Block(SPEC)
    block.mlp.float()
    return block


@pytest.mark.parametrize("execution", ON_CPU)
@pytest.mark.parametrize("make", [other_heads, other_epsilon, other_hidden, other_precision])
def test_branches_that_differ_in_more_than_weights_are_declined(
    execution: str, make: Callable[[], nn.Module]
) -> None:
    net = SumOfBranches([Block(SPEC).double(), make()]).eval().requires_grad_(False)
    if make is not other_precision:
        net.double()
    assert_declined(execution, net, "one kind|equal shape")


class Doubling(Mlp):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def with_another_mlp() -> nn.Module:
    block = Block(SPEC)
    block.mlp = Doubling(16, 64)
    return block


def without_a_bias() -> nn.Module:
    block = Block(SPEC)
    block.mlp.contract = nn.Linear(64, 16, bias=False)
    return block


def without_a_gain() -> nn.Module:
    block = Block(SPEC)
    block.norm_mlp = nn.LayerNorm(16, elementwise_affine=False)
    return block


@pytest.mark.parametrize("make", [with_another_mlp, without_a_bias, without_a_gain])
def test_blocks_of_unknown_parts_are_for_vmap_alone(make: Callable[[], nn.Module]) -> None:
    net = sum_of(make(), make())
    expected = net(X)
    assert_declined("stacked", net, "does not know blocks with such a")
    assert error(prepare("vmap", net)(X), expected) < 1e-14


@pytest.mark.parametrize("execution", ON_CPU)
def test_a_setting_that_all_branches_share_is_kept(execution: str) -> None:
    for make in (other_heads, other_epsilon):
        net = sum_of(make(), make(), make())
        expected = net(X)
        assert error(prepare(execution, net)(X), expected) < 1e-14


def shared_norm() -> list[nn.Module]:
    blocks = [Block(SPEC), Block(SPEC)]
    blocks[1].norm_mlp = blocks[0].norm_mlp
    return list(blocks)


def shared_norm_in_one_block() -> list[nn.Module]:
    blocks = [Block(SPEC), Block(SPEC)]
    for block in blocks:
        block.norm_mlp = block.norm_attention
    return list(blocks)


def shared_norm_in_one_chain() -> list[nn.Module]:
    chains = [nn.Sequential(Block(SPEC), Block(SPEC)) for _ in range(2)]
    for chain in chains:
        chain[1].norm_attention = chain[0].norm_attention
    return list(chains)


def one_block_for_all() -> list[nn.Module]:
    return [Block(SPEC)] * 3


SHARED = [shared_norm, shared_norm_in_one_block, shared_norm_in_one_chain, one_block_for_all]


@pytest.mark.parametrize("execution", ON_CPU)
@pytest.mark.parametrize("make", SHARED)
@torch.inference_mode()
def test_shared_weights_give_no_wrong_numbers(
    execution: str, make: Callable[[], list[nn.Module]]
) -> None:
    net = sum_of(*make())
    expected = net(X)
    assert error(prepare(execution, net)(X), expected) < 1e-14


@pytest.mark.parametrize("execution", ON_CPU)
@torch.inference_mode()
def test_a_norm_that_two_places_share_gives_no_wrong_numbers(execution: str) -> None:
    net = nn.Sequential(Pair(SPEC), Pair(SPEC))
    net[1].blocks.branches[0].norm_mlp = net[0].blocks.branches[0].norm_mlp
    expected = frozen(net)(X)
    assert error(prepare(execution, net)(X), expected) < 1e-14


def test_branches_within_a_branch_are_part_of_it() -> None:
    net = sum_of(Pair(SPEC), Pair(SPEC))
    expected = net(X)
    assert_declined("stacked", net, "Pair")
    for _ in range(2):
        assert error(prepare("vmap", net)(X), expected) < 1e-14
    # Even if they had been given a way of running of their own.
    net = sum_of(Pair(SPEC), Pair(SPEC))
    expected = net(X)
    for pair in net.branches:
        prepare("stacked", pair)
    assert error(prepare("vmap", net)(X), expected) < 1e-14
    assert [m.run is None for m in net.modules() if isinstance(m, Branches)] == [False, True, True]


@pytest.mark.parametrize("later", ON_CPU)
@pytest.mark.parametrize("earlier", ON_CPU)
@pytest.mark.parametrize("kind", [Block, NormedResidualBlock, AttentionSublayer])
@torch.inference_mode()
def test_a_net_may_be_prepared_again(earlier: str, later: str, kind: type[nn.Module]) -> None:
    net = nn.Sequential(sum_of(kind(SPEC), kind(SPEC)), sum_of(kind(SPEC), kind(SPEC)))
    expected = net(X)
    prepare(earlier, net)
    first = net[0].run
    prepare(later, net)
    assert net[0].run is not first
    for _ in range(2):
        assert error(net(X), expected) < 1e-14
    # What was made first is no longer reachable: weights are held once.
    sizes = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in net.parameters()
    }
    assert sum(sizes.values()) == sum(p.numel() * 8 for p in net.parameters())
    held = {w.untyped_storage().data_ptr() for place in net for w in place.run.weights}
    assert held == set(sizes)


@pytest.mark.parametrize("later", EVERY)
@pytest.mark.parametrize("earlier", ON_CPU)
def test_what_is_being_trained_stacked_is_not_prepared_again(earlier: str, later: str) -> None:
    """The parameters would no longer be what is trained, and nobody would notice."""
    net = frozen(Pair(SPEC)).requires_grad_(True)
    prepare(earlier, net)
    assert_declined(later, net, "being trained")


@pytest.mark.parametrize("execution", ON_CPU)
@pytest.mark.parametrize("kind", [Block, NormedResidualBlock, AttentionSublayer])
def test_gradients_are_those_of_the_loop(execution: str, kind: type[nn.Module]) -> None:
    net = sum_of(kind(SPEC), kind(SPEC), kind(SPEC)).requires_grad_(True)
    loop = copy.deepcopy(net)
    prepared = prepare(execution, net)
    norms = []
    for call, weights in ((loop, loop.parameters()), (prepared, prepared.run.weights)):
        x = X.clone().requires_grad_(True)
        call(x).square().sum().backward()
        assert x.grad is not None
        gradients = [x.grad] + [w.grad for w in weights if w.grad is not None]
        norms.append((x.grad, sum(float(g.square().sum()) for g in gradients)))
    (expected, total), (gradient, sum_of_all) = norms
    assert error(gradient, expected) < 1e-12
    assert sum_of_all == pytest.approx(total, rel=1e-12)


class Rotating(nn.Module):
    """Two affine maps with one weight, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.register_buffer("angles", torch.randn(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.sin(self.first(x) + self.angles))


@torch.inference_mode()
def test_vmap_takes_each_branch_s_own_buffers_and_ties() -> None:
    net = sum_of(Rotating(), Rotating(), Rotating())
    expected = net(X)
    assert error(prepare("vmap", net)(X), expected) < 1e-14
    assert len(net.run.weights) == 4


def test_where_a_model_was_built_does_not_matter() -> None:
    """A worker builds under inference mode; a user may build outside and prepare inside."""
    for execution in ON_CPU:
        outside = frozen(Pair(replace(SPEC, depth=3)))
        expected = outside(X)
        with torch.inference_mode():
            assert error(prepare(execution, outside)(X), expected) < 1e-14
            inside = frozen(Pair(SPEC))
            expected = inside(X)
            assert error(prepare(execution, inside)(X), expected) < 1e-14
