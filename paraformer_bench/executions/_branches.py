"""Finding the branches of a model and putting another way of running them in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from paraformer_bench.models._branches import Branches, Run
from paraformer_bench.study.errors import Unsupported

Forward = Callable[[Tensor], Tensor]
Make = Callable[[], Run]

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def run_branches(model: nn.Module, way: Callable[[Branches], Make]) -> Forward:
    """Make ``model`` run its branches in another way, and return it.

    Every place, a `SumOfBranches` or `EachBranch`, is looked at before the first one is changed:
    ``way`` changes nothing and returns how to make what the place's forward shall call. Branches
    within a branch are part of it, and run one after the other.

    Raises:
        Unsupported: The model has no such places, or ``way`` cannot run one of them. The model is
            as it was.
    """
    places = list(dict.fromkeys(outermost(model)))
    if not places:
        raise Unsupported("the model has no branches that this execution can find")
    if any(w.requires_grad for place in places for w in getattr(place.run, "weights", ())):
        raise Unsupported("the model's branches are being trained under another execution")
    makes = [way(place) for place in places]
    for module in model.modules():
        if isinstance(module, Branches):
            module.run = None
    for place, make in zip(places, makes, strict=True):
        place.run = make()
    return model


def alike(branches: Sequence[nn.Module]) -> bool:
    """Whether branches differ in the values of their tensors alone: the code of one is all's."""
    first, *others = map(_outline, branches)
    return all(other == first for other in others)


def outermost(module: nn.Module) -> Iterator[Branches]:
    """The places of a model that are not within a branch of another one."""
    if isinstance(module, Branches):
        yield module
        return
    for child in module.children():
        yield from outermost(child)


def _outline(branch: nn.Module) -> list[object]:
    """All modules with their kinds and settings, all parameters and buffers with their forms."""
    outline: list[object] = []
    for name, module in branch.named_modules():
        outline.append((name, type(module)))
        own = vars(module).keys() - _OF_EVERY_MODULE
        if isinstance(module, Branches):
            own -= {"run"}  # put aside by `run_branches`
        for key in sorted(own):  # a tensor that is no buffer must be the same one everywhere
            value = vars(module)[key]
            outline.append((key, id(value) if isinstance(value, Tensor) else value))
    for tensors in (branch.named_parameters(), branch.named_buffers()):
        outline += [(name, t.shape, t.dtype, t.device) for name, t in tensors]
    return outline


def adopt(parameters: Sequence[Tensor], storage: Tensor, places: Tensor | None = None) -> None:
    """Move parameters into ``storage``, so that weights are held once.

    Each becomes a view of its place there; its old memory is freed before the next one is read.
    Where they are being trained, it is the storage that is trained from now on.

    Args:
        parameters: Equal shapes.
        storage: As large as all of them together.
        places: View of ``storage`` along whose first axis they lie; by default ``storage`` itself.
    """
    trained = any(parameter.requires_grad for parameter in parameters)
    places = storage if places is None else places
    with torch.no_grad():
        for parameter, place in zip(parameters, places.unbind(0), strict=True):
            place.copy_(parameter)
            parameter.requires_grad_(False)
            parameter.data = place
    storage.requires_grad_(trained)


def trained(model: nn.Module) -> list[Tensor]:
    """Return what an optimiser must change: parameters, and storages that `adopt` filled.

    The storages are found as ``weights`` of the ``run`` of the model's `Branches`.
    """
    runs = [module.run for module in model.modules() if isinstance(module, Branches)]
    storages = [storage for run in runs for storage in getattr(run, "weights", ())]
    return [tensor for tensor in (*model.parameters(), *storages) if tensor.requires_grad]


def gradient(parameter: Tensor, leaves: Sequence[Tensor]) -> Tensor | None:
    """Return the gradient of a parameter, also of one that was moved by `adopt`; None without one.

    ``leaves`` are what `trained` returned of the parameter's model.
    """
    if parameter.requires_grad:
        return parameter.grad
    address = parameter.untyped_storage().data_ptr()
    for leaf in leaves:
        if leaf.grad is not None and leaf.untyped_storage().data_ptr() == address:
            places = leaf.grad
            if places.stride() != leaf.stride():
                places = torch.empty_like(leaf, requires_grad=False).copy_(places)
            offset = places.storage_offset() + parameter.storage_offset() - leaf.storage_offset()
            return places.as_strided(parameter.shape, parameter.stride(), offset)
    return None
