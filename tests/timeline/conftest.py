"""What tests of timelines share: a trace to be written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traces import Builder


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)
