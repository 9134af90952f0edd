"""Where two architectures are the same function, they return the same numbers.

All in float64 and up to the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraformer_bench.models._blocks import Attention, AttentionSublayer, Block, LayerNorm, Linear
from paraformer_bench.study.case import ModelSpec

Build = Callable[..., Any]

IMAGES = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def error(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm() / right.norm())


def copy_weights(target: nn.Module, source: nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def share(target: Any, source: Any, into: Sequence[nn.Module], out_of: Sequence[nn.Module]) -> Any:
    """Give a net another's embedding and head, and some of its parts; return it."""
    copy_weights(target.embedding, source.embedding)
    copy_weights(target.head, source.head)
    for new, old in zip(into, out_of, strict=True):
        copy_weights(new, old)
    return target


def chain(net: Any) -> list[Block]:
    """The blocks of a Para-Former in order, branch after branch."""
    return [block for branch in net.trunk.branches for block in branch]


def states(serial: Any, images: Tensor) -> list[Tensor]:
    """x_0, x_1, ... x_L of a serial net."""
    found = [serial.embedding(images)]
    for block in serial.trunk:
        found.append(block(found[-1]))
    return found


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_picard_with_as_many_iterations_as_blocks_is_the_serial_net(
    build: Build, depth: int
) -> None:
    serial, picard = build("serial", depth), build("picard", depth, branch_depth=depth)
    share(picard, serial, picard.trunk.blocks.branches, serial.trunk)
    assert error(picard(IMAGES), serial(IMAGES)) < 1e-12
    x = serial.embedding(IMAGES)
    assert error(picard.trunk(x), serial.trunk(x)) < 1e-13


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_one_picard_iteration_is_a_paraformer_less_all_but_one_embedding(
    build: Build, depth: int
) -> None:
    paraformer, picard = build("paraformer", depth), build("picard", depth)
    share(picard, paraformer, picard.trunk.blocks.branches, chain(paraformer))
    x = paraformer.embedding(IMAGES)
    assert error(picard.trunk(x), paraformer.trunk(x) - (depth - 1) * x) < 1e-13


def test_picard_s_error_falls_to_rounding_at_the_last_iteration_and_not_before(
    build: Build,
) -> None:
    depth = 6
    serial, picard = build("serial", depth), build("picard", depth)
    share(picard, serial, picard.trunk.blocks.branches, serial.trunk)
    x = serial.embedding(IMAGES)
    errors = []
    for iterations in range(1, depth + 3):
        picard.trunk.iterations = iterations
        errors.append(error(picard.trunk(x), serial.trunk(x)))
    assert min(errors[: depth - 1]) > 1e-4
    assert max(errors[depth - 1 :]) < 1e-13


def test_after_k_picard_iterations_the_first_k_states_are_the_serial_net_s(build: Build) -> None:
    depth = 6
    serial, picard = build("serial", depth), build("picard", depth, branch_depth=depth)
    share(picard, serial, picard.trunk.blocks.branches, serial.trunk)
    estimates: list[Tensor] = []
    picard.trunk.blocks.register_forward_pre_hook(lambda _, args: estimates.append(args[0]))
    picard(IMAGES)
    assert len(estimates) == depth
    exact = states(serial, IMAGES)
    for iterations, inputs in enumerate(estimates):
        for i, estimate in enumerate(inputs):  # what block i + 1 receives: x_i
            if i <= iterations:
                assert error(estimate, exact[i]) < 1e-13
            else:
                assert error(estimate, exact[i]) > 1e-4


@torch.no_grad()
def folded(norm: LayerNorm, linear: Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of an affine map that reads the norm without its gain and bias."""
    return linear.weight * norm.weight, linear.bias + linear.weight @ norm.bias


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("branches", [1, 2, 5])
def test_a_sum_of_attentions_is_one_attention_with_all_their_heads(
    branches: int, heads: int
) -> None:
    torch.manual_seed(4)
    spec = ModelSpec(depth=branches, width=16, heads=heads)
    parts = [AttentionSublayer(spec).double().requires_grad_(False) for _ in range(branches)]
    one = Attention(16, branches * heads, inner=branches * 16).double().requires_grad_(False)
    maps = [folded(part.norm, part.attention.qkv) for part in parts]
    projects = [part.attention.project for part in parts]
    one.qkv.weight.copy_(torch.cat([weight for weight, _ in maps]))
    one.qkv.bias.copy_(torch.cat([bias for _, bias in maps]))
    one.project.weight.copy_(torch.cat([project.weight for project in projects], dim=1))
    one.project.bias.copy_(torch.stack([project.bias for project in projects]).sum(0))
    x = torch.randn(3, 7, 16, dtype=torch.float64)
    total = torch.stack([part(x) for part in parts]).sum(0)
    assert error(one(F.layer_norm(x, (16,))), total) < 1e-13


@pytest.mark.parametrize("branch_depth", [1, 2])
def test_wide_is_parallel_vit_with_equal_norms(build: Build, branch_depth: int) -> None:
    """Parallel depth of this kind is width."""
    parallel = build("parallel_vit", 6, branch_depth=branch_depth)
    wide = share(build("wide", 6, branch_depth=branch_depth), parallel, (), ())
    for block, group in zip(wide.trunk, parallel.trunk, strict=True):
        attentions, mlps = group.attentions.branches, group.mlps.branches
        for norm, sublayers in ((block.norm_attention, attentions), (block.norm_mlp, mlps)):
            for sublayer in sublayers:
                copy_weights(sublayer.norm, norm)
        for whole, parts in (
            (block.attention.qkv, [a.attention.qkv for a in attentions]),
            (block.mlp.expand, [m.mlp.expand for m in mlps]),
        ):
            whole.weight.copy_(torch.cat([part.weight for part in parts]))
            whole.bias.copy_(torch.cat([part.bias for part in parts]))
        for whole, parts in (
            (block.attention.project, [a.attention.project for a in attentions]),
            (block.mlp.contract, [m.mlp.contract for m in mlps]),
        ):
            whole.weight.copy_(torch.cat([part.weight for part in parts], dim=1))
            whole.bias.copy_(torch.stack([part.bias for part in parts]).sum(0))
    assert error(wide(IMAGES), parallel(IMAGES)) < 1e-12
    x = wide.embedding(IMAGES)
    assert error(wide.trunk(x), parallel.trunk(x)) < 1e-13


def test_parallel_vit_sums_attentions_then_mlps(build: Build) -> None:
    net = build("parallel_vit", 6, branch_depth=2)
    x = net.embedding(IMAGES)
    assert len(net.trunk) == 2
    for group in net.trunk:
        assert len(group.attentions.branches) == len(group.mlps.branches) == 3
        h = x + sum(a.attention(a.norm(x)) for a in group.attentions.branches)
        x = h + sum(m.mlp(m.norm(h)) for m in group.mlps.branches)
    assert error(net(IMAGES), net.head(x)) < 1e-13


@pytest.mark.parametrize("depth", [1, 3])
def test_parallel_vit_with_one_branch_a_group_is_the_serial_net(build: Build, depth: int) -> None:
    serial = build("serial", depth)
    parallel = build("parallel_vit", depth, branch_depth=depth)
    share(parallel, serial, (), ())
    for group, block in zip(parallel.trunk, serial.trunk, strict=True):
        (attention,), (mlp,) = group.attentions.branches, group.mlps.branches
        copy_weights(attention.norm, block.norm_attention)
        copy_weights(attention.attention, block.attention)
        copy_weights(mlp.norm, block.norm_mlp)
        copy_weights(mlp.mlp, block.mlp)
    assert error(parallel(IMAGES), serial(IMAGES)) < 1e-13


def blocks_in_pairs(net: Any) -> list[Block]:
    return [module for module in net.trunk.modules() if isinstance(module, Block)]


def test_one_layer_without_a_pair_is_the_serial_net(build: Build) -> None:
    serial, pairs = build("serial", 1), build("layer_pairs", 1)
    share(pairs, serial, blocks_in_pairs(pairs), serial.trunk)
    assert torch.equal(pairs(IMAGES), serial(IMAGES))


def test_one_pair_of_layers_is_a_paraformer_less_one_embedding(build: Build) -> None:
    paraformer, pairs = build("paraformer", 2), build("layer_pairs", 2)
    share(pairs, paraformer, blocks_in_pairs(pairs), chain(paraformer))
    x = paraformer.embedding(IMAGES)
    assert error(pairs.trunk(x), paraformer.trunk(x) - x) < 1e-13


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 7])
def test_pairs_of_layers_share_an_input_and_an_odd_one_stands_last(
    build: Build, depth: int
) -> None:
    net = build("layer_pairs", depth)
    blocks = blocks_in_pairs(net)
    assert len(blocks) == depth
    x = net.embedding(IMAGES)
    for first in range(0, depth, 2):
        x = x + sum(block(x) - x for block in blocks[first : first + 2])
    assert error(net(IMAGES), net.head(x)) < 1e-13


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_a_truncated_net_is_the_serial_net_of_its_branch_depth(build: Build, depth: int) -> None:
    serial, truncated = build("serial", 2), build("truncated", depth, branch_depth=2)
    share(truncated, serial, truncated.trunk, serial.trunk)
    assert torch.equal(truncated(IMAGES), serial(IMAGES))


def test_attention_and_mlp_of_a_parallel_block_read_one_norm(build: Build) -> None:
    net = build("parallel_block", 3)
    assert len(net.trunk) == 3
    x = net.embedding(IMAGES)
    for block in net.trunk:
        attention, mlp = block.sublayers.branches
        normed = F.layer_norm(x, (16,), block.norm.weight, block.norm.bias)
        hidden = F.gelu(normed @ mlp.expand.weight.T + mlp.expand.bias)
        outputs = hidden @ mlp.contract.weight.T + mlp.contract.bias
        x = x + attention(normed) + outputs
    assert error(net(IMAGES), net.head(x)) < 1e-13


def test_these_identities_are_no_accident_of_idle_weights(build: Build) -> None:
    """With other weights in a single block, every one of the nets returns something else."""
    for name in ("picard", "parallel_vit", "layer_pairs", "truncated", "parallel_block", "wide"):
        net = build(name, 4, branch_depth=2)
        scores = net(IMAGES)
        for part in net.trunk.modules():
            if isinstance(part, Linear):
                kept = part.weight.clone()
                part.weight.copy_(part.weight.flip(1))
                assert error(net(IMAGES), scores) > 1e-3, name
                part.weight.copy_(kept)
