from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.registry import EXECUTIONS, MODELS


class Pair(NamedTuple):
    """The same net twice: as it is, and run by an execution (which may rewrite its weights)."""

    loop: nn.Module
    prepared: Forward
    rewritten: nn.Module
    x: Tensor


MakePair = Callable[..., Pair]


def relative_error(left: Tensor, right: Tensor) -> float:
    left, right = left.double(), right.double()
    return float((left - right).norm() / right.norm())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small are faster without a second thread, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_pair() -> MakePair:
    """Build ``make_pair(model, depth, execution=, scope=, batch=, dtype=, **spec fields)``."""

    def make_pair(
        model: str,
        depth: int,
        *,
        execution: str = "stacked",
        scope: str = "whole",
        batch: int = 1,
        dtype: torch.dtype = torch.float64,
        **fields: Any,
    ) -> Pair:
        shape: dict[str, Any] = {"width": 32, "heads": 2, "image": 24, "patch": 8, "classes": 7}
        spec = ModelSpec(depth=depth, **shape | fields)
        torch.manual_seed(5)
        net: nn.Module = MODELS.get(model).factory(spec)
        net = net.to(dtype).eval().requires_grad_(False)
        x = torch.randn(batch, spec.channels, spec.image, spec.image, dtype=dtype)
        if scope == "trunk":
            net = net.get_submodule("trunk")
            x = torch.randn(batch, spec.tokens, spec.width, dtype=dtype)
        rewritten = copy.deepcopy(net)
        prepared = EXECUTIONS.get(execution).factory(rewritten, x)
        return Pair(net, prepared, rewritten, torch.randn_like(x))

    return make_pair


@pytest.fixture
def assert_equals_loop(make_pair: MakePair) -> Callable[..., None]:
    """Compare an execution with the loop: ``assert_equals_loop(model, depth, tolerance, ...)``."""

    def assert_equals_loop(model: str, depth: int, tolerance: float, **fields: Any) -> None:
        pair = make_pair(model, depth, **fields)
        for _ in range(2):  # nothing of the first call may leak into the second
            x = torch.randn_like(pair.x)
            kept = x.clone()
            output, expected = pair.prepared(x), pair.loop(x)
            assert output.dtype == x.dtype
            assert output.shape == expected.shape
            assert relative_error(output, expected) < tolerance
            assert torch.equal(x, kept)

    return assert_equals_loop
