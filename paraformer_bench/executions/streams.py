"""Branches on CUDA streams of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward, run_branches
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.study.registry import register_execution

MOST_STREAMS = 32
"""PyTorch hands out the same 32 streams in turn: more would only be other names for them."""


def _warm(product: Callable[[], object], branches: int) -> None:
    for stream in _side_streams(torch.cuda.current_stream().device_index)[:branches]:
        with torch.cuda.stream(stream):
            product()


@register_execution("streams", devices=("cuda",), warm=_warm)
def prepare(model: nn.Module, example: Tensor) -> Forward:
    """A CUDA stream for every branch (32 at most), forked from and joined with the current one.

    Operations grow linearly with depth, as under ``loop``; the device may run those of different
    branches side by side. Events carry the fork and the join, so a CUDA graph can capture it and
    becomes a graph with parallel paths.
    """
    return run_branches(model, lambda place: lambda: StreamedBranches(place))


class StreamedBranches:
    """Callable form of `SumOfBranches` or `EachBranch`.

    Memory needs no `record_stream`: whatever a side stream reads or frees is ordered by the fork
    before it and the join after it, and the next call forks after this one has joined.
    """

    def __init__(self, place: Branches) -> None:
        self._branches = list(place.branches)
        self._sums = isinstance(place, SumOfBranches)

    def __call__(self, x: Tensor) -> Tensor:
        """Run all branches on ``x``; see `SumOfBranches` and `EachBranch` for the shapes."""
        main = torch.cuda.current_stream()
        streams = _side_streams(main.device_index)[: len(self._branches)]
        fork = main.record_event()
        outputs: list[Tensor] = []
        for index, branch in enumerate(self._branches):
            turn, row = divmod(index, len(streams))
            if not turn:
                streams[row].wait_event(fork)
            with torch.cuda.stream(streams[row]):
                if not self._sums:
                    outputs.append(branch(x[index]))
                elif not turn:
                    outputs.append(branch(x))
                else:  # summed where they are made: the join waits for 32 tensors at most
                    outputs[row] = outputs[row] + branch(x)
        for stream in streams:
            main.wait_stream(stream)
        stacked = torch.stack(outputs)
        return stacked.sum(0) if self._sums else stacked


@cache
def _side_streams(device: int) -> list[torch.cuda.Stream]:
    """The same streams for all cases: cuBLAS keeps a workspace for every one it has run on."""
    return [torch.cuda.Stream(device) for _ in range(MOST_STREAMS)]
