"""A thread for every branch, by PyTorch's own data-parallel machinery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Barrier

import torch
from torch import Tensor, nn
from torch.nn.parallel import parallel_apply

from paraformer_bench.executions._branches import Forward, Make, run_branches
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution


def _warm(product: Callable[[], object], branches: int) -> None:
    together = Barrier(branches, timeout=60)

    class WarmUp(nn.Module):
        def forward(self) -> None:
            try:
                product()
            finally:
                together.wait()  # a thread that ends leaves its workspace to the next one

    device = torch.cuda.current_device()
    parallel_apply([WarmUp()] * branches, [()] * branches, devices=[device] * branches)


@register_execution("parallel_apply", devices=("cuda",), spread="threads", warm=_warm)
def prepare(
    model: nn.Module, example: Tensor, devices: Sequence[torch.device] | None = None
) -> Forward:
    """A Python thread for every branch of one process, branches dealt out to the GPUs in turn.

    `torch.nn.parallel.parallel_apply` as it is: threads are started and joined in every call, and
    launch under one interpreter lock. A baseline for ``sharded``, which has a process a device.
    """
    places = [example.device] if devices is None else list(devices)

    def plan(place: Branches) -> Make:
        if not isinstance(place, SumOfBranches):
            raise Unsupported("parallel_apply needs branches that are summed")
        return lambda: ThreadedBranches(place, places)

    return run_branches(model, plan)


class ThreadedBranches:
    """Callable form of `SumOfBranches`: branch i is moved to device i modulo their number."""

    def __init__(self, place: SumOfBranches, devices: Sequence[torch.device]) -> None:
        self._branches = list(place.branches)
        self._devices = [devices[i % len(devices)] for i in range(len(self._branches))]
        for branch, device in zip(self._branches, self._devices, strict=True):
            branch.to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the sum of all branches' outputs."""
        copies = {device: x.to(device, non_blocking=True) for device in set(self._devices)}
        inputs = [copies[device] for device in self._devices]
        outputs = parallel_apply(self._branches, inputs, devices=self._devices)
        return torch.stack([output.to(x.device, non_blocking=True) for output in outputs]).sum(0)
