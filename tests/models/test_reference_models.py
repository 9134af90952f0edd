"""What holds for every model, and what serial and the Para-Formers compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraformer_bench.models._blocks import Attention, Block, LayerNorm, Linear
from paraformer_bench.models._branches import Branches
from paraformer_bench.study.registry import MODELS

Build = Callable[..., Any]
NAMES = MODELS.names()
NETS = [(name, k) for name in NAMES for k in (1, 2) if k == 1 or MODELS.get(name).traits.chained]
"""Every model with every branch depth that makes another net of it."""


def close(left: Tensor, right: Tensor) -> bool:
    return bool((left - right).norm() <= 1e-13 * right.norm())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "fields", [{}, {"channels": 1, "classes": 7}, {"image": 24, "patch": 4}, {"heads": 1}]
)
def test_images_become_class_scores(
    build: Build, name: str, batch: int, fields: dict[str, int]
) -> None:
    model = build(name, 2, **fields)
    image = fields.get("image", 16)
    scores = model(torch.randn(batch, fields.get("channels", 3), image, image).double())
    assert scores.shape == (batch, fields.get("classes", 5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("branch_depth", [1, 2, 4])
def test_a_trunk_maps_tokens_to_tokens(build: Build, name: str, branch_depth: int) -> None:
    for batch, tokens in ((1, 5), (2, 5), (3, 10)):
        x = torch.randn(batch, tokens, 16).double()
        kept = x.clone()
        assert build(name, 4, branch_depth=branch_depth).trunk(x).shape == x.shape
        assert torch.equal(x, kept)


@pytest.mark.parametrize(("name", "branch_depth"), NETS)
def test_the_images_of_a_batch_do_not_see_each_other(
    build: Build, name: str, branch_depth: int
) -> None:
    model, images = build(name, 4, branch_depth=branch_depth), torch.randn(3, 3, 16, 16).double()
    each = torch.cat([model(image[None]) for image in images])
    assert close(model(images), each)


def test_patches_are_embedded_as_a_convolution_would(build: Build) -> None:
    embedding, images = build("serial", 1).embedding, torch.randn(2, 3, 16, 16).double()
    kernel = embedding.patches.weight.view(16, 3, 8, 8)
    patches = F.conv2d(images, kernel, embedding.patches.bias, stride=8).flatten(2).mT
    tokens = torch.cat((embedding.class_token.expand(2, -1, -1), patches), dim=1)
    assert close(embedding(images), tokens + embedding.positions)


def test_attention_equals_the_textbook_formula(build: Build) -> None:
    attention, x = build("serial", 1).trunk[0].attention, torch.randn(2, 5, 16).double()
    outputs = []
    for head in range(2):
        # Rows are ordered (head, query|key|value, feature); a head is 8 features wide.
        rows = slice(head * 24, (head + 1) * 24)
        query, key, value = (x @ attention.qkv.weight[rows].T + attention.qkv.bias[rows]).split(
            8, dim=-1
        )
        outputs.append(torch.softmax(query @ key.mT / 8**0.5, dim=-1) @ value)
    assert close(attention(x), attention.project(torch.cat(outputs, dim=-1)))


def test_serial_feeds_each_block_what_the_one_before_returned(build: Build) -> None:
    model, images = build("serial", 3), torch.randn(2, 3, 16, 16).double()
    x = model.embedding(images)
    for block in model.trunk:
        assert type(block) is Block
        h = x + block.attention(block.norm_attention(x))
        x = h + block.mlp.contract(F.gelu(block.mlp.expand(block.norm_mlp(h))))
    assert torch.equal(model(images), model.head(x))


@pytest.mark.parametrize("name", ["paraformer", "paraformer_code"])
@pytest.mark.parametrize("branch_depth", [1, 2, 4])
def test_a_paraformer_is_the_sum_of_its_branches(
    build: Build, name: str, branch_depth: int
) -> None:
    model, images = build(name, 8, branch_depth=branch_depth), torch.randn(2, 3, 16, 16).double()
    assert len(model.trunk.branches) == 8 // branch_depth
    x = model.embedding(images)
    total = torch.zeros_like(x)
    for branch in model.trunk.branches:
        y = x
        assert len(branch) == branch_depth
        for block in branch:
            y = block(y)
        total += y
    assert close(model(images), model.head(total))


def test_paraformer_code_adds_back_the_normed_input(build: Build) -> None:
    block = build("paraformer_code", 1).trunk.branches[0][0]
    x = torch.randn(2, 5, 16).double()

    def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * layer.weight + layer.bias

    y = norm(block.norm_attention, x)
    h = block.attention(y) + y
    z = norm(block.norm_mlp, h)
    assert close(block(x), block.mlp(z) + z)


def test_at_depth_one_serial_and_paraformer_are_the_same_net(build: Build) -> None:
    serial, paraformer = build("serial", 1), build("paraformer", 1)
    weights = serial.state_dict()
    paraformer.load_state_dict(
        {name.replace("trunk.0", "trunk.branches.0.0"): w for name, w in weights.items()}
    )
    images = torch.randn(2, 3, 16, 16).double()
    assert torch.equal(serial(images), paraformer(images))


def test_at_depth_two_they_are_not(build: Build) -> None:
    serial, paraformer = build("serial", 2), build("paraformer", 2)
    mapped = {
        name.replace(f"trunk.{i}", f"trunk.branches.{i}.0"): w
        for i in range(2)
        for name, w in serial.state_dict().items()
        if name.startswith(f"trunk.{i}") or not name.startswith("trunk")
    }
    paraformer.load_state_dict(mapped)
    images = torch.randn(2, 3, 16, 16).double()
    assert not torch.allclose(serial(images), paraformer(images), rtol=1e-3)


@pytest.mark.parametrize(("name", "branch_depth"), NETS)
def test_the_gate_can_see_every_part(build: Build, name: str, branch_depth: int) -> None:
    """Freshly drawn, no gain, bias or weight may be so idle that losing it goes unnoticed."""
    model, images = build(name, 4, branch_depth=branch_depth), torch.randn(2, 3, 16, 16).double()
    scores = model(images)
    for module in model.modules():
        if not isinstance(module, (LayerNorm, Linear)):
            continue
        for parameter, idle in ((module.weight, 1.0), (module.bias, 0.0)):
            kept = parameter.clone()
            parameter.fill_(idle) if isinstance(module, LayerNorm) else parameter.zero_()
            moved = (model(images) - scores).norm() / scores.norm()
            parameter.copy_(kept)
            assert moved > 3e-4, (module, parameter.shape)


@pytest.mark.parametrize("name", NAMES)
def test_swapping_queries_and_keys_is_no_small_change(build: Build, name: str) -> None:
    model, images = build(name, 4), torch.randn(2, 3, 16, 16).double()
    scores = model(images)
    for attention in model.modules():
        if isinstance(attention, Attention):
            for part in (attention.qkv.weight, attention.qkv.bias):
                query, key, value = part.view(attention.heads, 3, 8, -1).unbind(1)
                part.copy_(torch.stack((key, query, value), 1).view_as(part))
    assert (model(images) - scores).norm() / scores.norm() > 0.05


BRANCHED = {
    "layer_pairs",
    "paraformer",
    "paraformer_code",
    "parallel_block",
    "parallel_vit",
    "picard",
}
CHAINED = {"paraformer", "paraformer_code", "parallel_vit", "picard", "truncated", "wide"}


def test_models_say_whether_they_have_branches_and_take_a_branch_depth() -> None:
    assert {name for name in NAMES if MODELS.get(name).traits.branched} == BRANCHED
    assert {name for name in NAMES if MODELS.get(name).traits.chained} == CHAINED


@pytest.mark.parametrize("name", NAMES)
def test_what_they_say_is_true(build: Build, name: str) -> None:
    traits = MODELS.get(name).traits
    net, images = build(name, 4), torch.randn(1, 3, 16, 16).double()
    assert any(isinstance(module, Branches) for module in net.modules()) == traits.branched
    # Another branch depth makes another net, or the very same one.
    other = build(name, 4, branch_depth=2)
    assert torch.equal(net(images), other(images)) != traits.chained
