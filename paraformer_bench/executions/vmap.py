"""Branches vectorised by PyTorch itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.func import functional_call, vmap

from paraformer_bench.errors import Unsupported
from paraformer_bench.executions._branches import Forward, adopt, run_branches
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.registry import register_execution


@register_execution("vmap")
def prepare(model: nn.Module, example: Tensor) -> Forward:
    """One branch's code, vectorised over all branches' weights by `torch.func.vmap`.

    The recipe of PyTorch's model ensembling tutorial, but that `stack_module_state` would hold
    the weights a second time: here the model's parameters become views of the stacked ones.
    """
    return run_branches(model, VmappedBranches)


class VmappedBranches:
    """Callable form of `SumOfBranches` or `EachBranch`.

    Attributes:
        weights: The stacked parameters, (branches, ...) each.

    Raises:
        Unsupported: The branches are not all of one kind.
    """

    def __init__(self, place: Branches) -> None:
        first, *others = place.branches
        if any(_outline(other) != _outline(first) for other in others):
            raise Unsupported("vmap needs branches of one kind")
        names = [name for name, _ in first.named_parameters()]
        stacked = {name: _stack(place.branches, name) for name in names}
        self.weights = list(stacked.values())
        self._stacked = stacked
        self._sums = isinstance(place, SumOfBranches)
        skeleton = copy.deepcopy(first).to("meta")

        def one(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(skeleton, dict(weights), (x,))

        self._all: Callable[..., Tensor] = vmap(one, in_dims=(0, None if self._sums else 0))

    def __call__(self, x: Tensor) -> Tensor:
        """Run all branches on ``x``; see `SumOfBranches` and `EachBranch` for the shapes."""
        # Each branch sees (batch, tokens, width), so that its attention is the fused kernel's
        # four-dimensional one, for which there is a batching rule.
        out = self._all(self._stacked, x)
        return out.sum(0) if self._sums else out


def _outline(branch: nn.Module) -> list[object]:
    """What must agree: the kinds of all modules, and the names and shapes of all parameters."""
    kinds: list[object] = [(name, type(module)) for name, module in branch.named_modules()]
    return kinds + [(name, p.shape) for name, p in branch.named_parameters()]


def _stack(branches: nn.ModuleList, name: str) -> Tensor:
    parameters = [branch.get_parameter(name) for branch in branches]
    storage = parameters[0].new_empty(len(parameters), *parameters[0].shape)
    adopt(parameters, storage)
    return storage
