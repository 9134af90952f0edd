"""Closed-form parameter and FLOP counts of the reference nets, to check the counters against.

All reference models hold the same blocks, so the formulas depend on the shape alone. A
multiply-add counts as two operations; norms, GELU, softmax and additions are not counted, as in
``torch.utils.flop_counter``.
"""

from __future__ import annotations

from paraformer_bench.case import ModelSpec


def parameters(spec: ModelSpec) -> int:
    """Parameters of the whole net, embedding and head included."""
    d, h = spec.width, spec.hidden
    block = (3 * d * d + 3 * d) + (d * d + d) + (h * d + h) + (d * h + d) + 4 * d
    embedding = spec.channels * spec.patch**2 * d + d + d + spec.tokens * d
    head = 2 * d + d * spec.classes + spec.classes
    return spec.depth * block + embedding + head


def trunk_flops(spec: ModelSpec, batch: int) -> int:
    """Operations of the blocks alone on ``batch`` images."""
    t, d = spec.tokens, spec.width
    products = 2 * t * d * (3 * d + d + 2 * spec.hidden)
    attention = 2 * 2 * t * t * d
    return batch * spec.depth * (products + attention)


def flops(spec: ModelSpec, batch: int) -> int:
    """Operations of the whole net on ``batch`` images."""
    patches = 2 * (spec.tokens - 1) * spec.channels * spec.patch**2 * spec.width
    head = 2 * spec.width * spec.classes
    return trunk_flops(spec, batch) + batch * (patches + head)
