"""The parts every reference model is built of, after ViT (Dosovitskiy et al., 2010.11929).

Speed does not depend on the weights, but the correctness gate does: they are drawn such that
every part moves the scores by more than the gate's tolerance. ViT's own initialisation (standard
deviation 0.02, unit gains, no biases) leaves attention so close to a plain average that an
execution which mixes up queries and keys would pass, and every residual branch so small that
one which drops it would pass in bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraformer_bench.study.case import ModelSpec

_SPREAD = 0.2
"""Standard deviation of fresh gains, biases, positions and class tokens."""


class LayerNorm(nn.LayerNorm):
    """Layer norm over the last axis whose gain and bias start near one and zero."""

    def reset_parameters(self) -> None:
        """Draw the gain around one and the bias around zero."""
        nn.init.normal_(self.weight, mean=1.0, std=_SPREAD)
        nn.init.normal_(self.bias, std=_SPREAD)


class Linear(nn.Linear):
    """Affine map whose fresh weights keep the variance of their input."""

    def reset_parameters(self) -> None:
        """Draw weight and bias around zero."""
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        nn.init.normal_(self.bias, std=_SPREAD)


class Attention(nn.Module):
    """Multi-head self-attention, (batch, tokens, width) to the same.

    Rows of the joint projection are ordered (head, query|key|value, feature), so that the
    projections of several branches, one below the other, are those of one attention with all
    their heads. These have ``inner`` features together, by default the width.
    """

    def __init__(self, width: int, heads: int, inner: int | None = None) -> None:
        super().__init__()
        inner = width if inner is None else inner
        self.heads = heads
        self.qkv = Linear(width, 3 * inner)
        self.project = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the tokens of ``x`` (batch, tokens, width)."""
        return self.project(attend(self.qkv(x), self.heads))


def attend(qkv: Tensor, heads: int) -> Tensor:
    """Scaled dot-product attention on joint projections (Vaswani et al., 1706.03762).

    These are ordered as in `Attention`: (batch, tokens, heads x 3 x head width). Returned is
    (batch, tokens, heads x head width).
    """
    batch, tokens, _ = qkv.shape
    query, key, value = qkv.view(batch, tokens, heads, 3, -1).transpose(1, 2).unbind(3)
    out = F.scaled_dot_product_attention(query, key, value)
    return out.transpose(1, 2).reshape(batch, tokens, -1)


class Mlp(nn.Module):
    """Two affine maps around a GELU, (..., width) to the same."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = Linear(width, hidden)
        self.contract = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map every token of ``x`` (..., width)."""
        return self.contract(F.gelu(self.expand(x)))


class AttentionSublayer(nn.Module):
    """The attention of a pre-norm block without its residual: A(LN x)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.norm = LayerNorm(spec.width)
        self.attention = Attention(spec.width, spec.heads)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        return self.attention(self.norm(x))


class MlpSublayer(nn.Module):
    """The MLP of a pre-norm block without its residual: M(LN x)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.norm = LayerNorm(spec.width)
        self.mlp = Mlp(spec.width, spec.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        return self.mlp(self.norm(x))


class Block(nn.Module):
    """Pre-norm transformer block: h = x + A(LN x); return h + M(LN h)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.norm_attention = LayerNorm(spec.width)
        self.attention = Attention(spec.width, spec.heads)
        self.norm_mlp = LayerNorm(spec.width)
        self.mlp = Mlp(spec.width, spec.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (batch, tokens, width) to the same shape."""
        x = x + self.attention(self.norm_attention(x))
        return x + self.mlp(self.norm_mlp(x))


class Embedding(nn.Module):
    """Images to tokens: patches, a class token in front, learned positions."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.patch = spec.patch
        self.patches = Linear(spec.channels * spec.patch**2, spec.width)
        self.class_token = nn.Parameter(torch.randn(1, 1, spec.width) * _SPREAD)
        self.positions = nn.Parameter(torch.randn(1, spec.tokens, spec.width) * _SPREAD)

    def forward(self, images: Tensor) -> Tensor:
        """Embed (batch, channels, image, image) as (batch, tokens, width)."""
        patch, side = self.patch, images.shape[-1] // self.patch
        cut = images.unflatten(3, (side, patch)).unflatten(2, (side, patch))
        pixels = cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        first = self.class_token.expand(len(images), -1, -1)
        return torch.cat((first, self.patches(pixels)), dim=1) + self.positions


class Head(nn.Module):
    """Tokens to class scores, read off the class token."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.norm = LayerNorm(spec.width)
        self.classify = Linear(spec.width, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Score (batch, tokens, width) as (batch, classes)."""
        return self.classify(self.norm(x[:, 0]))


class Net(nn.Module):
    """Embedding, trunk and head. The trunk is where architectures differ."""

    def __init__(self, spec: ModelSpec, trunk: nn.Module) -> None:
        super().__init__()
        self.embedding = Embedding(spec)
        self.trunk = trunk
        self.head = Head(spec)

    def forward(self, images: Tensor) -> Tensor:
        """Score (batch, channels, image, image) as (batch, classes)."""
        return self.head(self.trunk(self.embedding(images)))
