"""Tests marked gpu run where there is a GPU, and say why where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paraformer_bench.instrument.device import Device
from paraformer_bench.study.case import Case


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        reason = f"needs a CUDA device; torch {torch.__version__} sees none"
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def opened() -> Device:
    """GPU 0 as a worker opens it, with its libraries loaded."""
    import torch

    from paraformer_bench.instrument.device import open_device

    device = open_device("cuda:0")
    square = torch.ones(64, 64, device=device.torch_device)
    (square @ square).sum().item()
    return device


@pytest.fixture
def gpu(opened: Device) -> Iterator[Device]:
    """GPU 0, under inference mode as in a worker."""
    import torch

    with torch.inference_mode():
        yield opened


@pytest.fixture
def make_case() -> Callable[..., Case]:
    """Build a valid case on GPU 0; keyword arguments replace its fields."""

    def make_case(**fields: Any) -> Case:
        usual: dict[str, Any] = {
            "model": "serial",
            "execution": "loop",
            "runtime": "eager",
            "depth": 8,
            "width": 192,
            "batch": 1,
            "image": 224,
            "patch": 16,
            "heads": 3,
            "branch_depth": 1,
            "dtype": "float32",
            "device": "cuda:0",
        }
        return Case.of(**usual | fields).check()

    return make_case
