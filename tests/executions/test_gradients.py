"""An execution that moves parameters is trained as the plain loop is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import gradient, trained
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.registry import EXECUTIONS, MODELS

Build = Callable[..., tuple[nn.Module, Tensor]]

NETS = [
    ("paraformer", 4, 1),
    ("paraformer", 4, 2),
    ("paraformer_code", 4, 1),
    ("paraformer_code", 4, 2),
    ("parallel_vit", 4, 1),
    ("parallel_vit", 4, 2),
    ("picard", 4, 1),
    ("picard", 4, 3),
    ("layer_pairs", 5, 1),
]
"""Model, depth and branch depth."""


@pytest.fixture
def build() -> Build:
    """Build a net in float64 whose parameters require gradients, and a batch for it."""

    def build(
        model: str, depth: int, branch_depth: int, **fields: Any
    ) -> tuple[nn.Module, Tensor]:
        shape: dict[str, Any] = {"width": 32, "heads": 2, "image": 24, "patch": 8, "classes": 7}
        spec = ModelSpec(depth=depth, branch_depth=branch_depth, **shape | fields)
        torch.manual_seed(5)
        net: nn.Module = MODELS.get(model).factory(spec)
        return net.double().eval(), torch.randn(3, 3, 24, 24, dtype=torch.float64)

    return build


def error(left: Tensor, right: Tensor) -> float:
    return float((left - right).norm() / right.norm())


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # vmap, on a CPU
@pytest.mark.parametrize("execution", ["stacked", "vmap"])
@pytest.mark.parametrize(("model", "depth", "branch_depth"), NETS)
def test_gradients_equal_those_of_the_loop(
    build: Build, model: str, depth: int, branch_depth: int, execution: str
) -> None:
    loop, x = build(model, depth, branch_depth)
    moved = copy.deepcopy(loop)
    parameters = list(moved.parameters())
    run = EXECUTIONS.get(execution).factory(moved, x)
    loop(x).square().sum().backward()
    run(x).square().sum().backward()
    leaves = trained(moved)
    assert all(leaf.is_leaf for leaf in leaves)
    assert len(leaves) < len(parameters)
    assert sum(leaf.numel() for leaf in leaves) == sum(p.numel() for p in parameters)
    for expected, parameter in zip(loop.parameters(), parameters, strict=True):
        assert expected.grad is not None
        found = gradient(parameter, leaves)
        assert found is not None
        assert found.shape == parameter.shape
        assert error(found, expected.grad) < 1e-12


def test_the_wide_projection_of_gpus_has_the_same_gradients(build: Build) -> None:
    """Only a single branch shares its normed input when norms are not folded."""
    loop, x = build("paraformer", 1, 1)
    moved = copy.deepcopy(loop)
    run = EXECUTIONS.get("stacked").factory(moved, x)
    for level in moved.trunk.run.levels:
        level.attention.wide = True
    loop(x).square().sum().backward()
    run(x).square().sum().backward()
    for expected, parameter in zip(loop.parameters(), moved.parameters(), strict=True):
        found = gradient(parameter, trained(moved))
        assert found is not None
        assert error(found, expected.grad) < 1e-12


def test_a_change_of_the_storage_is_a_change_of_the_parameters(build: Build) -> None:
    model, x = build("paraformer", 2, 1)
    EXECUTIONS.get("stacked").factory(model, x)
    with torch.no_grad():
        for leaf in trained(model):
            leaf.fill_(3)
    assert all(bool((parameter == 3).all()) for parameter in model.parameters())


def test_a_loop_trains_its_parameters(build: Build) -> None:
    model, _ = build("paraformer", 2, 1)
    assert [id(leaf) for leaf in trained(model)] == [id(p) for p in model.parameters()]
    assert trained(model.requires_grad_(False)) == []
    assert gradient(next(model.parameters()), []) is None


def test_a_gradient_laid_out_otherwise_is_read_right() -> None:
    storage = torch.arange(6.0).view(2, 3).requires_grad_()
    parameter = nn.Parameter(storage.detach()[1], requires_grad=False)
    storage.grad = torch.arange(6.0).view(3, 2).T  # [[0, 2, 4], [1, 3, 5]], columns first
    found = gradient(parameter, [storage])
    assert found is not None
    assert found.tolist() == [1, 3, 5]
