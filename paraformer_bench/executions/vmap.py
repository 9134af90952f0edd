"""Branches vectorised by PyTorch itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from paraformer_bench.executions._branches import Forward, Make, adopt, alike, run_branches
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution


@register_execution("vmap")
def prepare(model: nn.Module, example: Tensor) -> Forward:
    """One branch's code, vectorised over all branches' weights by `torch.func.vmap`.

    The recipe of PyTorch's model ensembling tutorial, but that `stack_module_state` would hold
    the weights a second time: here the model's parameters become views of the stacked ones.
    """
    return run_branches(model, _plan)


def _plan(place: Branches) -> Make:
    if not alike(list(place.branches)):
        raise Unsupported("vmap needs branches of one kind")
    return lambda: VmappedBranches(place)


class VmappedBranches:
    """Callable form of `SumOfBranches` or `EachBranch` whose branches are `alike`.

    Its ``weights`` are the stacked parameters and buffers, (branches, ...) each.
    """

    def __init__(self, place: Branches) -> None:
        first, *_ = named = [_tensors(branch) for branch in place.branches]
        self._stacked = {name: _stack([tensors[name] for tensors in named]) for name in first}
        self.weights = list(self._stacked.values())
        self._sums = isinstance(place, SumOfBranches)
        # The skeleton's own tensors hold nothing, and are tied where those of a branch are.
        skeleton = copy.deepcopy(
            place.branches[0], {id(tensor): _hollow(tensor) for tensor in first.values()}
        )

        def run_branch(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(skeleton, dict(weights), (x,))

        self._all: Callable[..., Tensor] = vmap(run_branch, in_dims=(0, None if self._sums else 0))

    def __call__(self, x: Tensor) -> Tensor:
        """Run all branches on ``x``; see `SumOfBranches` and `EachBranch` for the shapes."""
        # Each branch sees (batch, tokens, width), so that its attention is the fused kernel's
        # four-dimensional one, for which there is a batching rule.
        out = self._all(self._stacked, x)
        return out.sum(0) if self._sums else out


def _tensors(branch: nn.Module) -> dict[str, Tensor]:
    return dict(branch.named_parameters()) | dict(branch.named_buffers())


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    storage = tensors[0].new_empty(len(tensors), *tensors[0].shape)
    adopt(tensors, storage)
    return storage


def _hollow(tensor: Tensor) -> Tensor:
    hollow = torch.empty_like(tensor, device="meta")
    return nn.Parameter(hollow, False) if isinstance(tensor, nn.Parameter) else hollow
