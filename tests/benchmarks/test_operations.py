"""The generated table of operation counts is the current one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.operations import DOCUMENT, document, formula

PINS = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8")


def test_the_document_is_current() -> None:
    [pinned] = re.findall(r"^torch==(\S+)", PINS, re.MULTILINE)
    if torch.__version__.partition("+")[0] != pinned:
        pytest.skip(f"counted with torch {pinned}: another may take other steps under vmap")
    assert document() == DOCUMENT.read_text(encoding="utf-8")


@torch.inference_mode()
def test_what_does_not_grow_is_shown_as_a_number_and_what_grows_as_a_line() -> None:
    assert re.fullmatch(r"\*\*\d+\*\*", formula("paraformer", "stacked", 1))
    assert re.fullmatch(r"\d+ L − 1", formula("paraformer", "loop", 1))
    assert formula("parallel_block", "stacked", 1) == "–"
