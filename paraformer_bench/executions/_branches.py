"""Finding the branches of a model and putting another way of running them in their place."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from paraformer_bench.errors import Unsupported
from paraformer_bench.models._blocks import SumOfBranches

Forward = Callable[[Tensor], Tensor]


def replace_trunk(model: nn.Module, prepare: Callable[[SumOfBranches], Forward]) -> Forward:
    """Return ``model``'s forward with its branches run by ``prepare(trunk)``.

    Args:
        model: A `SumOfBranches`, or a net with ``embedding``, ``trunk`` and ``head`` whose
            trunk is one.
        prepare: Turns the trunk into a callable of the same signature.

    Raises:
        Unsupported: The model's branches are not a `SumOfBranches`.
    """
    if isinstance(model, SumOfBranches):
        return prepare(model)
    trunk = getattr(model, "trunk", None)
    if not isinstance(trunk, SumOfBranches):
        raise Unsupported("the model's trunk is no sum of branches this execution knows")
    run = prepare(trunk)
    embedding, head = model.get_submodule("embedding"), model.get_submodule("head")

    def forward(images: Tensor) -> Tensor:
        return head(run(embedding(images)))

    return forward
