"""The branches of one net spread over several devices."""

from __future__ import annotations

from torch import Tensor, nn

from paraformer_bench.executions import stacked
from paraformer_bench.executions._branches import Forward, Make, run_branches
from paraformer_bench.executions._ranks import ALONE, Ranks
from paraformer_bench.models._branches import Branches, Run, SumOfBranches
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution


@register_execution("sharded", spread="ranks")
def prepare(model: nn.Module, example: Tensor, ranks: Ranks = ALONE) -> Forward:
    """Branches dealt out to one process a device, each share as ``stacked``, one all-reduce.

    NCCL carries it between GPUs, gloo between processes on a CPU. What is not a branch
    (embedding, head) every rank computes for itself. A rank without a branch adds zeros. On one
    device this is ``stacked``.
    """
    fold = stacked.may_fold(model)

    def plan(place: Branches) -> Make:
        if not isinstance(place, SumOfBranches):
            raise Unsupported("sharded needs branches that are summed")
        stacked.plan(place, fold)  # all of them, so that no rank declines what another one runs
        return lambda: ShardedBranches(place, fold, ranks)

    return run_branches(model, plan)


class ShardedBranches:
    """Callable form of `SumOfBranches`: this rank's branches, then the sum over ranks.

    The place keeps the branches of this rank alone, so that the others' weights are freed.
    """

    def __init__(self, place: SumOfBranches, fold: bool, ranks: Ranks) -> None:
        mine = ranks.share(list(place.branches))
        place.branches = nn.ModuleList(mine)
        self._ranks = ranks
        self._run: Run | None = stacked.plan(SumOfBranches(mine), fold)() if mine else None

    @property
    def weights(self) -> list[Tensor]:
        """The stacked parameters of this rank."""
        return list(getattr(self._run, "weights", ()))

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the sum of all branches' outputs."""
        part = x.new_zeros(x.shape) if self._run is None else self._run(x)
        return self._ranks.sum(part)
