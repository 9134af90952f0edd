"""One net in several processes: what an execution may know and ask of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_T = TypeVar("_T")


class Ranks:
    """The processes that run one net together, one a device. All of them make the same calls.

    Args:
        rank: Number of this process, from 0.
        size: How many there are.
        group: Their `torch.distributed` process group; None where this is the only one.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank = rank
        self.size = size
        self.group = group
        self._noted: list[Tensor] | None = None

    def share(self, things: Sequence[_T]) -> list[_T]:
        """Return what falls to this rank, dealt out in turn: shares differ by one at most."""
        return list(things[self.rank :: self.size])

    def sum(self, part: Tensor) -> Tensor:
        """Return the sum of every rank's ``part``, which must be contiguous and is overwritten."""
        if self.size > 1:
            self.note(part)
            dist.all_reduce(part, group=self.group)
        return part

    def note(self, part: Tensor) -> None:
        """Note a sum over ranks like ``part``, if sums are being noted; `sum` does so itself."""
        if self._noted is not None:
            self._noted.append(torch.zeros_like(part))

    def broadcast(self, x: Tensor) -> None:
        """Overwrite ``x`` with that of rank 0."""
        dist.broadcast(x, 0, group=self.group)

    @contextmanager
    def noting(self) -> Iterator[list[Tensor]]:
        """Note the sums made meanwhile, as zeros of their shapes and precisions."""
        noted: list[Tensor] = []
        self._noted = noted
        try:
            yield noted
        finally:
            self._noted = None


ALONE = Ranks()
