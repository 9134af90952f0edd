"""The execution that changes nothing."""

from __future__ import annotations

import torch
from torch import nn

from paraformer_bench.study.registry import EXECUTIONS


def test_the_loop_is_the_model_itself() -> None:
    entry, model = EXECUTIONS.get("loop"), nn.Linear(2, 2)
    assert entry.factory(model, torch.zeros(1, 2)) is model
    assert not entry.traits.needs_branches
