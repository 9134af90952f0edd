"""A serial net in stages on several devices, by PyTorch's own pipelining."""

from __future__ import annotations

from math import gcd

import torch
import torch.distributed as dist
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.executions._ranks import ALONE, Ranks
from paraformer_bench.models._blocks import Net
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution

_LOADS = ("torch._dynamo", "torch.distributed.pipelining")


@register_execution("pipelined", needs_branches=False, spread="ranks", loads=_LOADS)
def prepare(model: nn.Module, example: Tensor, ranks: Ranks = ALONE) -> Forward:
    """Blocks of a serial net dealt out in order to one process a device, one stage each.

    `torch.distributed.pipelining` as it is, with the schedule of GPipe (Huang et al., 1811.06965)
    and as many equal parts of the batch as there are stages, or as divide both. One image goes
    through the stages one after another: a baseline for ``sharded``. On one device ``loop``.
    """
    if ranks.size == 1:
        return model
    trunk = model.trunk if isinstance(model, Net) else model
    if type(trunk) is not nn.Sequential:
        raise Unsupported("pipelined needs a net whose blocks follow each other")
    return PipelinedNet(model, trunk, ranks, example)


class PipelinedNet:
    """The stage of one rank; the model, a net with this trunk or the trunk itself, keeps no other.

    The trunk's blocks return what they receive in shape.
    """

    def __init__(
        self, model: nn.Module, trunk: nn.Sequential, ranks: Ranks, example: Tensor
    ) -> None:
        from torch.distributed.pipelining import PipelineStage, ScheduleGPipe

        self._ranks = ranks
        self._first, self._last = ranks.rank == 0, ranks.rank == ranks.size - 1
        self._parts = gcd(len(example), ranks.size)
        tokens = model.embedding(example) if isinstance(model, Net) else example
        # What stages hand on, and what the last one returns to rank 0.
        self._tokens = torch.zeros_like(tokens[: len(example) // self._parts])
        self._scores = torch.zeros_like(model(example))
        start, stop = (len(trunk) * k // ranks.size for k in (ranks.rank, ranks.rank + 1))
        del trunk[stop:]
        del trunk[:start]
        if isinstance(model, Net):
            if not self._first:
                model.add_module("embedding", nn.Identity())
            if not self._last:
                model.add_module("head", nn.Identity())
        stage = PipelineStage(model, ranks.rank, ranks.size, example.device, group=ranks.group)
        self._schedule = ScheduleGPipe(stage, self._parts)

    def __call__(self, x: Tensor) -> Tensor:
        """Run the net on ``x``; only rank 0 gets what it returns."""
        self._ranks.note(self._hand_on)
        output = self._schedule.step(x) if self._first else self._schedule.step()
        return self._return(output)

    def _return(self, output: Tensor) -> Tensor:
        """Send what the last stage returned to rank 0."""
        if self._last:
            dist.send(output, 0, group=self._ranks.group)
        elif self._first:
            dist.recv(self._scores, self._ranks.size - 1, group=self._ranks.group)
        return self._scores

    def _hand_on(self) -> None:
        """Send as much from stage to stage as a call does."""
        group, rank = self._ranks.group, self._ranks.rank
        for _ in range(self._parts):
            if not self._first:
                dist.recv(self._tokens, rank - 1, group=group)
            if not self._last:
                dist.send(self._tokens, rank + 1, group=group)
        self._return(self._scores)
