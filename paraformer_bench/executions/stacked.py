"""All branches in a number of operations that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraformer_bench.errors import Unsupported
from paraformer_bench.executions._branches import Forward, replace_trunk
from paraformer_bench.models._blocks import Block, LayerNorm, Linear, SumOfBranches, attend
from paraformer_bench.models.paraformer_code import NormedResidualBlock
from paraformer_bench.registry import register_execution


@register_execution("stacked")
def prepare(model: nn.Module, example: Tensor) -> Forward:
    """Branches side by side in large operations whose number does not depend on depth.

    The first norm is shared by all branches; its gains and biases fold into the projections of
    all heads of all branches, over which there is one attention. The rest is batched matrix
    products and one sum over branches. The model's parameters become views of the stacked
    storage: weights are held once, and the model itself still computes the same function.
    """
    return replace_trunk(model, StackedBranches)


class StackedBranches:
    """Callable form of a `SumOfBranches` trunk, (batch, tokens, width) to the same.

    Raises:
        Unsupported: The branches differ in length or hold anything but one known kind of block.
    """

    def __init__(self, trunk: SumOfBranches) -> None:
        chains = [list(branch.children()) for branch in trunk.branches]
        kinds = {type(block) for chain in chains for block in chain}
        if len({len(chain) for chain in chains}) != 1 or len(kinds) != 1:
            raise Unsupported("stacked needs branches of equal length and one kind of block")
        kind = kinds.pop()
        if kind not in (Block, NormedResidualBlock):
            raise Unsupported(f"stacked does not know blocks of type {kind.__name__}")
        *inner, last = zip(*chains, strict=True)
        normed = kind is NormedResidualBlock
        with torch.no_grad():
            self._levels = [_Level(blocks, normed, sums=False) for blocks in inner]
            self._levels.append(_Level(last, normed, sums=True))

    def __call__(self, x: Tensor) -> Tensor:
        """Run all branches on ``x`` (batch, tokens, width) and return their sum."""
        batch, tokens, width = x.shape
        rows = x.reshape(1, batch * tokens, width)
        for level in self._levels:
            rows = level(rows, batch)
        return rows.view(batch, tokens, width)


class _Level:
    """The blocks that stand at one place of every branch.

    Shapes below: L branches, N rows (batch x tokens), D width, H hidden units. An input with a
    leading axis of one is shared by all branches.

    Args:
        blocks: One block a branch.
        normed: Residuals start at the norm (`NormedResidualBlock`), so that the norms' gains and
            biases are needed by themselves and cannot be folded into the products.
        sums: Return the sum over branches, (1, N, D), instead of (L, N, D).
    """

    def __init__(self, blocks: Sequence[Block], normed: bool, sums: bool) -> None:
        self._normed = normed
        self._sums = sums
        self._heads = blocks[0].attention.heads
        if not normed:
            for block in blocks:
                _fold(block.norm_attention, block.attention.qkv)
                _fold(block.norm_mlp, block.mlp.expand)
        self._gain_attention, self._bias_attention = _norms([b.norm_attention for b in blocks])
        self._gain_mlp, self._bias_mlp = _norms([b.norm_mlp for b in blocks])
        self._qkv, self._qkv_bias = _side_by_side([b.attention.qkv for b in blocks])
        self._wide = self._qkv.is_cuda
        self._project, self._project_bias = _products([b.attention.project for b in blocks])
        self._expand, self._expand_bias = _products([b.mlp.expand for b in blocks])
        self._contract, self._contract_bias = _products([b.mlp.contract for b in blocks])
        if sums:
            self._contract_bias = self._contract_bias.sum(0, keepdim=True)

    def __call__(self, x: Tensor, batch: int) -> Tensor:
        """Map rows ``x`` (L or 1, N, D) to (L, N, D), or to (1, N, D) when summing."""
        # L-fold results are overwritten where they can be and freed as soon as they are used:
        # touching fresh memory costs a CPU as much as the arithmetic on it.
        width = x.shape[-1:]
        residual, normed = x, F.layer_norm(x, width)
        if self._normed:
            residual = normed = torch.addcmul(self._bias_attention, normed, self._gain_attention)
        residual = residual + self._project_bias
        residual.baddbmm_(self._attend(normed, batch), self._project)
        normed = F.layer_norm(residual, width)
        if self._normed:
            residual = normed = torch.addcmul(self._bias_mlp, normed, self._gain_mlp)
        hidden = torch.baddbmm(self._expand_bias, normed, self._expand)
        out = residual.baddbmm_(torch.ops.aten.gelu_(hidden), self._contract)
        if self._sums:
            out = out.sum(0, keepdim=True)
        return out.add_(self._contract_bias)

    def _attend(self, x: Tensor, batch: int) -> Tensor:
        """Attention of every branch on rows ``x`` (L or 1, N, D): (L, N, D) before projection."""
        width, branches, outputs = self._qkv.shape
        rows = x.shape[1]
        tokens = rows // batch
        if self._wide and len(x) == 1:
            # On a GPU, one wide product adds its bias for free and is one launch. On a CPU it
            # took a quarter longer than L small ones.
            wide = torch.addmm(self._qkv_bias.view(-1), x[0], self._qkv.view(width, -1))
            out = attend(wide.view(batch, tokens, -1), branches * self._heads)
            return out.view(rows, branches, width).transpose(0, 1)
        shared = x.expand(branches, -1, -1)
        each = torch.baddbmm(self._qkv_bias, shared, self._qkv.transpose(0, 1))
        out = attend(each.view(branches * batch, tokens, outputs), self._heads)
        return out.view(branches, rows, width)


def _fold(norm: LayerNorm, linear: Linear) -> None:
    """Move a norm's gain and bias into the affine map that follows it, in place."""
    linear.bias.addmv_(linear.weight, norm.bias)
    linear.weight.mul_(norm.weight)
    norm.weight.fill_(1)
    norm.bias.zero_()


def _norms(norms: Sequence[LayerNorm]) -> tuple[Tensor, Tensor]:
    """Gains and biases of one norm a branch, (L, 1, D) each."""
    return _vectors([norm.weight for norm in norms]), _vectors([norm.bias for norm in norms])


def _products(maps: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """Weights as right factors of batched products, (L, in, out), and biases (L, 1, out)."""
    outputs, inputs = maps[0].weight.shape
    storage = maps[0].weight.new_empty(len(maps), inputs, outputs)
    _adopt([part.weight for part in maps], storage.mT)
    return storage, _vectors([part.bias for part in maps])


def _side_by_side(maps: Sequence[Linear]) -> tuple[Tensor, Tensor]:
    """Weights as one wide right factor, (in, L, out), and biases (L, 1, out)."""
    outputs, inputs = maps[0].weight.shape
    storage = maps[0].weight.new_empty(inputs, len(maps), outputs)
    _adopt([part.weight for part in maps], storage.permute(1, 2, 0))
    return storage, _vectors([part.bias for part in maps])


def _vectors(parameters: Sequence[Tensor]) -> Tensor:
    """Vectors (n) below each other, (L, 1, n)."""
    storage = parameters[0].new_empty(len(parameters), 1, len(parameters[0]))
    _adopt(parameters, storage.squeeze(1))
    return storage


def _adopt(parameters: Sequence[Tensor], storage: Tensor) -> None:
    """Copy each parameter to its place along the first axis and make it a view of that place.

    A parameter's old memory is freed before the next one is read.
    """
    for parameter, place in zip(parameters, storage.unbind(0), strict=True):
        place.copy_(parameter)
        parameter.data = place
