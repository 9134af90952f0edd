"""The part of one rank in a net that several ranks run together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from paraformer_bench.executions._ranks import Ranks


class Part:
    """Runs this rank's part of a net; every rank must call its own.

    Args:
        ranks: All that run the net.
        call: The net as the execution has left it here.
        example: Receives the input; on rank 0 it is an input.
    """

    def __init__(self, ranks: Ranks, call: Callable[[Tensor], Tensor], example: Tensor) -> None:
        self._ranks = ranks
        self._call = call
        self._example = example
        self._told: list[Callable[[], object]] | None = None

    def run(self, x: Tensor | None = None) -> Tensor:
        """Send the input of rank 0 to all ranks and run the net.

        Args:
            x: On rank 0 the input, otherwise nothing.
        """
        x = self._example if x is None else x
        self._ranks.broadcast(x)
        if self._told is None:
            with self._ranks.noting() as self._told:
                return self._call(x)
        return self._call(x)

    def communicate(self) -> None:
        """Tell each other as much as in `run`, and compute nothing between."""
        self._ranks.broadcast(self._example)
        for again in self._told or ():
            again()
