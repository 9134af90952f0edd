"""All branches in a number of operations that does not depend on how many there are.

Shapes: L branches, N rows (batch x tokens), D width, H hidden units. An input with a leading axis
of one is shared by all branches. L-fold results are overwritten where they can be and freed as
soon as they are used: touching fresh memory costs a CPU as much as the arithmetic on it. In
training nothing is overwritten that a gradient needs, and nothing is folded, so that the same
parameters are trained as under ``loop``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraformer_bench.executions._branches import Forward, Make, adopt, alike, run_branches
from paraformer_bench.models._blocks import (
    Attention,
    AttentionSublayer,
    Block,
    LayerNorm,
    Linear,
    Mlp,
    MlpSublayer,
    attend,
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
    attentions = [chain[0] for chain in chains if isinstance(chain[0], AttentionSublayer)]
    mlps = [chain[0] for chain in chains if isinstance(chain[0], MlpSublayer)]
    alone = sums and len(chains[0]) == 1
    make: Make
    if kind in (Block, NormedResidualBlock):
        normed = kind is NormedResidualBlock
        make = partial(StackedBlocks, blocks, normed, sums, fold and not normed)
    elif alone and kind is AttentionSublayer:
        norms, inner = [each.norm for each in attentions], [each.attention for each in attentions]
        make = partial(StackedAttention, norms, inner, fold, sums)
    elif alone and kind is MlpSublayer:
        norms, parts = [each.norm for each in mlps], [each.mlp for each in mlps]
        make = partial(StackedMlp, norms, parts, fold, sums)
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
    """The blocks that stand at one place of every branch."""

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
        out = self.mlp.add_to(normed if self._normed else residual, normed, batch)
        if self._sums:
            out = out.sum(0, keepdim=True)
        return out.add_(self.mlp.last_bias)


class StackedSublayer(ABC):
    """The attention or MLP sublayers of L branches: a norm, a product, something, a product.

    By themselves they are branches without residuals whose outputs are summed.

    Args:
        norms: The norm before each.
        first: The maps that follow them, stacked.
        last: The maps at the end.
        folded: The norms' gains and biases have moved into the maps.
        sums: `last_bias` shall be the sum over branches.
    """

    def __init__(
        self,
        norms: Sequence[LayerNorm],
        first: tuple[Tensor, Tensor],
        last: Sequence[Linear],
        folded: bool,
        sums: bool,
    ) -> None:
        self._folded, self._eps = folded, norms[0].eps
        self._gain = _vectors([norm.weight for norm in norms])
        self._norm_bias = _vectors([norm.bias for norm in norms])
        self._first, self._first_bias = first
        self._last, self._bias = _products(last)
        self._sums = sums
        made_once = sums and not self._bias.requires_grad
        self._sum = self._bias.sum(0, keepdim=True) if made_once else None

    @property
    def weights(self) -> list[Tensor]:
        """The stacked parameters."""
        own = [self._first, self._first_bias, self._last, self._bias]
        return [self._gain, self._norm_bias, *own]

    @property
    def last_bias(self) -> Tensor:
        """Biases of the last products, (L, 1, D), or their sum, (1, 1, D)."""
        if not self._sums:
            return self._bias
        return self._bias.sum(0, keepdim=True) if self._sum is None else self._sum

    def norm(self, x: Tensor) -> Tensor:
        """Norm rows ``x`` (L or 1, N, D), for each branch by itself unless that is folded."""
        normed = F.layer_norm(x, x.shape[-1:], eps=self._eps)
        return normed if self._folded else torch.addcmul(self._norm_bias, normed, self._gain)

    def add_to(self, residual: Tensor, normed: Tensor, batch: int) -> Tensor:
        """Add the sublayer of ``normed`` (L or 1, N, D) to ``residual`` (L, N, D), in branches."""
        if torch.is_grad_enabled():
            return torch.baddbmm(residual, self.inner(normed, batch), self._last)
        return residual.baddbmm_(self.inner(normed, batch), self._last)

    def __call__(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the sum of the branches' outputs."""
        batch, tokens, width = x.shape
        normed = self.norm(x.reshape(1, batch * tokens, width))
        out = torch.bmm(self.inner(normed, batch), self._last).sum(0, keepdim=True)
        return out.add_(self.last_bias).view(batch, tokens, width)

    @abstractmethod
    def inner(self, x: Tensor, batch: int) -> Tensor:
        """What the last product of every branch receives, from rows ``x`` (L or 1, N, D)."""


class StackedAttention(StackedSublayer):
    """The attention sublayers of L branches."""

    def __init__(
        self,
        norms: Sequence[LayerNorm],
        attentions: Sequence[Attention],
        fold: bool,
        sums: bool = False,
    ) -> None:
        first, last = [a.qkv for a in attentions], [a.project for a in attentions]
        _fold(norms, first, fold)
        super().__init__(norms, _side_by_side(first), last, fold, sums)
        self._heads = attentions[0].heads
        self.wide = self._first.is_cuda

    def inner(self, x: Tensor, batch: int) -> Tensor:
        """Attention of every branch, (L, N, D)."""
        width, branches, outputs = self._first.shape
        rows = x.shape[1]
        tokens = rows // batch
        if self.wide and len(x) == 1:
            # On a GPU, one wide product adds its bias for free and is one launch. On a CPU it
            # took a quarter longer than L small ones.
            wide = torch.addmm(self._first_bias.view(-1), x[0], self._first.view(width, -1))
            out = attend(wide.view(batch, tokens, -1), branches * self._heads)
            return out.view(rows, branches, width).transpose(0, 1)
        shared = x.expand(branches, -1, -1)
        each = torch.baddbmm(self._first_bias, shared, self._first.transpose(0, 1))
        out = attend(each.view(branches * batch, tokens, outputs), self._heads)
        return out.view(branches, rows, width)


class StackedMlp(StackedSublayer):
    """The MLP sublayers of L branches."""

    def __init__(
        self, norms: Sequence[LayerNorm], mlps: Sequence[Mlp], fold: bool, sums: bool = False
    ) -> None:
        first, last = [mlp.expand for mlp in mlps], [mlp.contract for mlp in mlps]
        _fold(norms, first, fold)
        super().__init__(norms, _products(first), last, fold, sums)

    def inner(self, x: Tensor, batch: int) -> Tensor:
        """Hidden units of every branch, (L, N, H)."""
        shared = x.expand(len(self._first), -1, -1)
        hidden = torch.baddbmm(self._first_bias, shared, self._first)
        return F.gelu(hidden) if torch.is_grad_enabled() else torch.ops.aten.gelu_(hidden)


def _fold(norms: Sequence[LayerNorm], maps: Sequence[Linear], fold: bool) -> None:
    """Move the gain and bias of each norm into the affine map that follows it, in place."""
    for norm, linear in zip(norms, maps, strict=True) if fold else ():
        linear.bias.addmv_(linear.weight, norm.bias)
        linear.weight.mul_(norm.weight)
        norm.weight.fill_(1)
        norm.bias.zero_()


def _products(maps: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """Weights as right factors of batched products, (L, in, out), and biases (L, 1, out)."""
    outputs, inputs = maps[0].weight.shape
    storage = maps[0].weight.new_empty(len(maps), inputs, outputs)
    adopt([part.weight for part in maps], storage, storage.mT)
    return storage, _vectors([part.bias for part in maps])


def _side_by_side(maps: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """Weights as one wide right factor, (in, L, out), and biases (L, 1, out)."""
    outputs, inputs = maps[0].weight.shape
    storage = maps[0].weight.new_empty(inputs, len(maps), outputs)
    adopt([part.weight for part in maps], storage, storage.permute(1, 2, 0))
    return storage, _vectors([part.bias for part in maps])


def _vectors(parameters: Sequence[Tensor]) -> Tensor:
    """Vectors (n) below each other, (L, 1, n)."""
    storage = parameters[0].new_empty(len(parameters), 1, len(parameters[0]))
    adopt(parameters, storage, storage.squeeze(1))
    return storage
