"""Commands of tests see no GPU, but for those of tests that need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHOW = "import os; print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))"


@pytest.mark.parametrize("visible", [None, "2,3"])
def test_a_command_sees_the_gpus_it_is_meant_to_see(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cli.python("-c", SHOW, cwd=tmp_path).stdout == "''\n"
    assert cli.python("-c", SHOW, cwd=tmp_path, gpu=True).stdout == f"{visible!r}\n"
