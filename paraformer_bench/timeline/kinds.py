"""Kinds of operations, told by their names, so that a picture of hundreds has few colours."""

from __future__ import annotations

import re
from collections.abc import Mapping

PRODUCT = "matrix product"
ATTENTION = "attention"
NORM = "layer norm"
ELEMENTWISE = "elementwise"
REDUCTION = "sum, softmax"
COPY = "copy, fill"
OTHER = "other"

KINDS = (PRODUCT, ATTENTION, NORM, ELEMENTWISE, REDUCTION, COPY, OTHER)

# What decides comes first: a kernel's name holds those of its template arguments too.
_NAMES: Mapping[str, str] = {
    ATTENTION: r"attention|fmha|flash_(?:fwd|bwd)",
    PRODUCT: r"gemm|xmma|nvjet|cutlass|cublas|splitk|wgmma|triton_tem"
    r"|addmv|addmm|\bmm\b|bmm|matmul|\bdot\b|convolution|convolve|mkldnn_linear|_mm\b",
    NORM: r"layer_?norm|batch_?norm|rms_?norm|group_?norm",
    REDUCTION: r"softmax|reduce_|triton_(?:red|per)_|\bsum\b|\bmean\b|\bamax\b|cross_entropy"
    r"|nll_loss|logsumexp",
    COPY: r"memcpy|memset|copy|\bcat\b|catarray|clone|\bstack\b|fill|\b(?:zero|ones|zeros)_"
    r"|gather|scatter|local_scalar|index_select|\bindex\b",
    ELEMENTWISE: r"elementwise|triton_poi_|gelu|relu|tanh|sigmoid|dropout|threshold"
    r"|\b_?(?:foreach_)?(?:add|sub|mul|div|pow|sqrt|rsqrt|addcmul|addcdiv|lerp|neg|exp|where)_?\b"
    r"|adam|sgd|multi_tensor",
}
_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _NAMES.items()}


def kind_of(operation: str, name: str) -> str:
    """Return one of `KINDS`.

    Args:
        operation: The host's operation, ``aten::addmm``; empty where it is not known, as in the
            replay of a CUDA graph. It decides if it is of a known kind.
        name: Of what ran: a kernel's, or again the operation's.
    """
    for text in (operation.rpartition("::")[2], name):
        for kind, pattern in _PATTERNS.items():
            if pattern.search(text):
                return kind
    return OTHER
