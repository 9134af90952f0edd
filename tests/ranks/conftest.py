"""What tests of ranks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from paraformer_bench.study.case import Case
from tests.fakes import on_one_thread, tiny_case


@pytest.fixture
def make_case() -> Callable[..., Case]:
    return tiny_case


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with on_one_thread():
        yield
