"""All branches in a number of operations that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward, Make, alike, run_branches
from paraformer_bench.executions._stacked_parts import StackedAttention, StackedMlp
from paraformer_bench.models._blocks import (
    Attention,
    AttentionSublayer,
    Block,
    LayerNorm,
    Linear,
    Mlp,
    MlpSublayer,
)
from paraformer_bench.models._branches import Branches, SumOfBranches
from paraformer_bench.models.paraformer_code import NormedResidualBlock
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution

_PARTS = (Attention, Mlp, LayerNorm, Linear, nn.LayerNorm, nn.Linear)
"""What a block may be made of. A kind derived from one of them may compute something else."""


@register_execution("stacked")
def prepare(model: nn.Module, example: Tensor) -> Forward:
    """Branches side by side in large operations whose number does not depend on depth.

    The first norm is shared by all branches; its gains and biases fold into the projections of
    all heads of all branches, over which there is one attention. The rest is batched matrix
    products and one sum over branches. The model's parameters become views of the stacked
    storage: weights are held once.
    """
    fold = may_fold(model)
    return run_branches(model, lambda place: plan(place, fold))


def may_fold(model: nn.Module) -> bool:
    """Whether weights may be rewritten: none is trained, or read in a second place."""
    every = [p for _, p in model.named_parameters(remove_duplicate=False)]
    return len(set(every)) == len(every) and not any(p.requires_grad for p in every)


def plan(place: Branches, fold: bool) -> Make:
    """Look at the branches of one place and say how to stack them.

    Args:
        place: The branches.
        fold: See `may_fold`.

    Raises:
        Unsupported: They cannot be stacked. They are as they were.
    """
    chains = [list(b) if isinstance(b, nn.Sequential) else [b] for b in place.branches]
    kinds = {type(module) for chain in chains for module in chain}
    if len({len(chain) for chain in chains}) != 1 or len(kinds) != 1:
        raise Unsupported("stacked needs branches of equal length and one kind of block")
    kind = kinds.pop()
    sums = isinstance(place, SumOfBranches)
    blocks = [[module for module in chain if isinstance(module, Block)] for chain in chains]
    sublayers = [chain[0] for chain in chains if len(chain) == 1]
    make: Make
    if kind in (Block, NormedResidualBlock):
        normed = kind is NormedResidualBlock
        make = partial(StackedBlocks, blocks, normed, sums, fold and not normed)
    elif sums and sublayers and kind in (AttentionSublayer, MlpSublayer):
        make = partial(SummedSublayers, sublayers, fold)
    else:
        raise Unsupported(f"stacked does not know blocks of type {kind.__name__}")
    for module in (part for chain in chains for block in chain for part in block.modules()):
        incomplete = any(parameter is None for parameter in module._parameters.values())
        if incomplete or type(module) not in (kind, *_PARTS):
            raise Unsupported(f"stacked does not know blocks with such a {type(module).__name__}")
    if not all(alike(level) for level in zip(*chains, strict=True)):
        raise Unsupported("stacked needs branches of equal shape")
    return make


class StackedBlocks:
    """Branches that are chains of blocks, side by side.

    Args:
        chains: The blocks of each branch.
        normed: Residuals start at the norm (`NormedResidualBlock`), so that the norms' gains and
            biases are needed by themselves and cannot be folded into the products.
        sums: Branches share their input and their outputs are summed (`SumOfBranches`);
            otherwise each has its own (`EachBranch`).
        fold: Move the norms' gains and biases into the products.

    Attributes:
        levels: The blocks that stand at one place of every branch, one after the other.
    """

    def __init__(
        self, chains: Sequence[Sequence[Block]], normed: bool, sums: bool, fold: bool
    ) -> None:
        *inner, last = zip(*chains, strict=True)
        self._sums = sums
        self.levels = [_Level(blocks, normed, False, fold) for blocks in inner]
        self.levels.append(_Level(last, normed, sums, fold))

    @property
    def weights(self) -> list[Tensor]:
        """The stacked parameters."""
        return [tensor for level in self.levels for tensor in level.weights]

    def __call__(self, x: Tensor) -> Tensor:
        """Run all branches; see `SumOfBranches` and `EachBranch` for the shapes of ``x``."""
        batch, tokens, width = x.shape[-3:]
        rows = x.reshape(-1, batch * tokens, width)
        for level in self.levels:
            rows = level(rows, batch)
        return rows.view(batch, tokens, width) if self._sums else rows.view(x.shape)


class _Level:
    """The blocks that stand at one place of every branch.

    Shapes below: L branches, N rows (batch x tokens), D width. An input with a leading axis of
    one is shared by all branches.
    """

    def __init__(self, blocks: Sequence[Block], normed: bool, sums: bool, fold: bool) -> None:
        self._normed = normed
        self._sums = sums
        self.attention = StackedAttention(
            [b.norm_attention for b in blocks], [b.attention for b in blocks], fold
        )
        self.mlp = StackedMlp([b.norm_mlp for b in blocks], [b.mlp for b in blocks], fold, sums)

    @property
    def weights(self) -> list[Tensor]:
        """The stacked parameters of this level."""
        return [*self.attention.weights, *self.mlp.weights]

    def __call__(self, x: Tensor, batch: int) -> Tensor:
        """Map rows ``x`` (L or 1, N, D) to (L, N, D), or to (1, N, D) when summing."""
        normed = self.attention.norm(x)
        residual = (normed if self._normed else x) + self.attention.last_bias
        residual = self.attention.add_to(residual, normed, batch)
        normed = self.mlp.norm(residual)
        out = self.mlp.add_to(normed if self._normed else residual, normed)
        if self._sums:
            out = out.sum(0, keepdim=True)
        return out.add_(self.mlp.last_bias)


class SummedSublayers:
    """The sum over branches that are an attention each, or an MLP each, without residuals."""

    def __init__(self, branches: Sequence[nn.Module], fold: bool) -> None:
        attentions = [b for b in branches if isinstance(b, AttentionSublayer)]
        mlps = [b for b in branches if isinstance(b, MlpSublayer)]
        self.part: StackedAttention | StackedMlp
        if attentions:
            norms, inner = [b.norm for b in attentions], [b.attention for b in attentions]
            self.part = StackedAttention(norms, inner, fold, sums=True)
        else:
            self.part = StackedMlp([b.norm for b in mlps], [b.mlp for b in mlps], fold, sums=True)

    @property
    def weights(self) -> list[Tensor]:
        """The stacked parameters."""
        return self.part.weights

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the sum of the branches' outputs."""
        batch, tokens, width = x.shape
        normed = self.part.norm(x.reshape(1, batch * tokens, width))
        if isinstance(self.part, StackedAttention):
            out = self.part.products(normed, batch)
        else:
            out = self.part.products(normed)
        return out.sum(0, keepdim=True).add_(self.part.last_bias).view(batch, tokens, width)
