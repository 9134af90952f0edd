"""CUDA graphs: the operations are recorded once and replayed with a single launch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from paraformer_bench.study.garbage import nothing_collected
from paraformer_bench.study.registry import register_runtime

WARM_UP_CALLS = 3
"""Calls on a side stream before capture, so that handles and workspaces exist by then."""


def _warm(product: Callable[[], object], branches: int) -> None:
    with torch.cuda.stream(_capture_stream()):
        product()


@register_runtime("graph", devices=("cuda",), warm=_warm)
def wrap(call: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """CUDA graph replay: one launch, however many operations were captured.

    The graph reads ``example`` where it lies. Another input is copied there first; ``example``
    itself is not, so timing with it times the replay alone.
    """
    stream = _capture_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_CALLS):
            call(example)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # What the collector frees may call CUDA, another graph in a cycle for instance, which breaks
    # a capture (pytorch #161037).
    with nothing_collected(), torch.cuda.graph(graph, stream=stream):
        output = call(example)

    def replay(x: Tensor) -> Tensor:
        if x.data_ptr() != example.data_ptr():
            example.copy_(x)
        graph.replay()
        return output

    return replay


@cache
def _capture_stream() -> torch.cuda.Stream:
    """One stream for all graphs: cuBLAS keeps a workspace for every stream it has ever run on."""
    return torch.cuda.Stream()
