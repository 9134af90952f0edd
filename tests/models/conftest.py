from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.registry import MODELS

Build = Callable[..., nn.Module]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small are faster without a second thread, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build() -> Build:
    """Build a small net with known weights: ``build(name, depth, **fields of the spec)``."""

    def build(name: str, depth: int, **fields: Any) -> nn.Module:
        shape: dict[str, Any] = {"width": 16, "heads": 2, "image": 16, "patch": 8, "classes": 5}
        spec = ModelSpec(depth=depth, **shape | fields)
        torch.manual_seed(11)
        model: nn.Module = MODELS.get(name).factory(spec)
        return model.double().eval().requires_grad_(False)

    return build
