"""Kinds of operations, told by their names, so that a picture of hundreds has few colours."""

from __future__ import annotations

import re

PRODUCT = "matrix product"
ATTENTION = "attention"
NORM = "layer norm"
ELEMENTWISE = "elementwise"
REDUCTION = "sum, softmax"
COPY = "copy, fill"
OTHER = "other"

KINDS = (PRODUCT, ATTENTION, NORM, ELEMENTWISE, REDUCTION, COPY, OTHER)

# What decides comes first. A kernel's name holds those of its template arguments too, and one that
# Inductor wrote those of all operations that it was made from: its beginning says what it is.
_NAMES: tuple[tuple[str, str], ...] = (
    (OTHER, r"^nccl"),
    (PRODUCT, r"^triton_tem_(?!.*(?:attention|flex))"),
    (ELEMENTWISE, r"^triton_poi_"),
    (NORM, r"^triton_(?:red|per)_.*layer_norm"),
    (REDUCTION, r"^triton_(?:red|per)_"),
    (
        ATTENTION,
        r"attention|fmha|sdpa|flex_|_attn_|flash_?attn|flash_(?:fwd|bwd|fprop|bprop)",
    ),
    (
        PRODUCT,
        r"gemm|gemv|xmma|nvjet|cutlass|cublas|splitk|wgmma|winograd|conv2d|conv_depthwise"
        r"|addmv|addmm|\bmm\b|bmm|matmul|\bdot\b|convolution|convolve|_linear\b|_linear_pointwise"
        r"|_mm\b",
    ),
    (NORM, r"layer_?norm|batch_?norm|rms_?norm|group_?norm|GammaBeta"),
    (
        REDUCTION,
        r"softmax|reduce_|\bsum\b|\bmean\b|\bamax\b|cross_entropy|nll_loss|mse_loss|logsumexp",
    ),
    (
        COPY,
        r"memcpy|memset|copy|\bcat\b|catarray|clone|\bstack\b|fill|\b(?:zero|zeros|ones|full)_?\b"
        r"|\b(?:zeros|ones|full)_like\b|foreach_zero_|gather|scatter|local_scalar|index_select"
        r"|\bindex\b|(?:select|slice)_backward|nchwToNhwc|nhwcToNchw|im2col|col2im",
    ),
    (
        ELEMENTWISE,
        r"elementwise|gelu|relu|tanh|sigmoid|dropout|threshold|adam|sgd|multi_tensor"
        r"|\b_?(?:foreach_)?(?:add|sub|mul|div|pow|sqrt|rsqrt|addcmul|addcdiv|lerp|neg|exp|where)"
        r"_?\b",
    ),
)
_PATTERNS = [(kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _NAMES]


def kind_of(operation: str, name: str) -> str:
    """Return one of `KINDS` for what ran, a kernel or again the operation of the host.

    The host's operation (``aten::addmm``; empty where it is not known, as in the replay of a CUDA
    graph) decides if it is of a known kind, and else the name of what ran.
    """
    for text in (operation.rpartition("::")[2], name):
        for kind, pattern in _PATTERNS:
            if pattern.search(text):
                return kind
    return OTHER
