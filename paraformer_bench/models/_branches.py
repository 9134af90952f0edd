"""Branches that do not wait for each other: the places of a net that executions may run anew.

A model says where its parallel branches are by using one of the two modules here. By themselves
they run one branch after the other; an execution sets their ``run`` to something better.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]


class Branches(nn.Module, ABC):
    """Branches that do not wait for each other; each maps (batch, tokens, width) to the same.

    The forward calls ``run`` instead of the plain loop where there is one.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.run: Run | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches in the way that was set, by default one after the other."""
        return self.loop(x) if self.run is None else self.run(x)

    @abstractmethod
    def loop(self, x: Tensor) -> Tensor:
        """Run one branch after the other."""


class SumOfBranches(Branches):
    """Every branch receives the same (batch, tokens, width); their outputs are summed."""

    def loop(self, x: Tensor) -> Tensor:
        """Run one branch after the other on ``x`` and sum."""
        first, *others = self.branches
        total: Tensor = first(x)
        for branch in others:
            total = total + branch(x)
        return total


class EachBranch(Branches):
    """Branch i receives x[i] of (branches, batch, tokens, width) and returns row i of the same."""

    def loop(self, x: Tensor) -> Tensor:
        """Run one branch after the other, each on its own row of ``x``."""
        return torch.stack([branch(row) for branch, row in zip(self.branches, x, strict=True)])
