"""One net in several processes: what an execution may know and ask of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_T = TypeVar("_T")


class Ranks:
    """The processes that run one net together, one a device. All of them make the same calls.

    This one is number ``rank`` of ``size``, from 0. The group is their `torch.distributed` process
    group, None where this is the only one.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        self.rank = rank
        self.size = size
        self.group = group
        self._noted: list[Callable[[], object]] | None = None

    def share(self, things: Sequence[_T]) -> list[_T]:
        """Return what falls to this rank, dealt out in turn: shares differ by one at most."""
        return list(things[self.rank :: self.size])

    def sum(self, part: Tensor) -> Tensor:
        """Return the sum of every rank's ``part``, which must be contiguous and is overwritten."""
        if self.size > 1:
            self.note_sum(part)
            dist.all_reduce(part, group=self.group)
        return part

    def note(self, again: Callable[[], object]) -> None:
        """Note what ranks tell each other, if it is being noted; ``again`` repeats it."""
        if self._noted is not None:
            self._noted.append(again)

    def note_sum(self, part: Tensor) -> None:
        """Note a sum like that of ``part``; `sum` itself does so."""
        if self._noted is not None:
            zeros = torch.zeros_like(part)
            self.note(lambda: dist.all_reduce(zeros, group=self.group))

    def broadcast(self, x: Tensor) -> None:
        """Overwrite ``x`` with that of rank 0."""
        dist.broadcast(x, 0, group=self.group)

    @contextmanager
    def noting(self) -> Iterator[list[Callable[[], object]]]:
        """Note what ranks tell each other meanwhile, in its order."""
        noted: list[Callable[[], object]] = []
        self._noted = noted
        try:
            yield noted
        finally:
            self._noted = None


ALONE = Ranks()
