"""Counting the operations of one call, and the arithmetic in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

_aten = torch.ops.aten
_NO_KERNEL = {
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.new_empty,
    _aten.new_empty_strided,
    _aten._unsafe_view,
}


@dataclass(frozen=True)
class Counts:
    """What one call did.

    Attributes:
        operations: Operations dispatched, without views and allocations, which launch nothing.
        flops: Floating-point operations in products, attention and convolutions; a multiply-add
            counts as two. Norms, GELU and additions are not counted.
    """

    operations: int
    flops: int


def count(call: Callable[[Tensor], object], x: Tensor) -> Counts:
    """Call once and count, with the formulas of ``torch.utils.flop_counter``.

    Its `FlopCounterMode` itself is not used: it imports TorchDynamo (over a second in every
    worker) and silently counts the CPU's attention and in-place products as zero.
    """
    with _CountingMode() as mode:
        call(x)
    return Counts(mode.operations, mode.flops)


def _cpu_attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _cpu_attention_backward(
    gradient: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: Any,
) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))


def _product(total: object, left: Sequence[int], right: Sequence[int], *_: Any) -> int:
    """Operations of a (batched) product added in place, from the shapes of its factors."""
    return 2 * math.prod(left) * right[-1]


_UNTOLD: Mapping[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,
    _aten.addmm_: _product,
    _aten.baddbmm_: _product,
}


class _CountingMode(TorchDispatchMode):
    """Sees every operation below autograd, as `FlopCounterMode` does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.operations = 0
        self.flops = 0


def _dispatch(
    mode: _CountingMode, func: Any, types: Any, args: Any = (), kwargs: Any = None
) -> Any:
    kwargs = kwargs or {}
    packet = func._overloadpacket
    if packet not in flop_registry and packet not in _UNTOLD:
        with mode:  # composite operations, such as linear, are counted by their parts
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
    out = func(*args, **kwargs)
    if not func.is_view and packet not in _NO_KERNEL:
        mode.operations += 1
    if packet in _UNTOLD:
        mode.flops += _UNTOLD[packet](*tree_map(_shape, args))
    elif packet in flop_registry:
        mode.flops += int(flop_registry[packet](*args, **kwargs, out_val=out))
    return out


# Set after the class is made: what stands in its body, torch wraps in a call into TorchDynamo.
_CountingMode.__torch_dispatch__ = _dispatch  # type: ignore[assignment, method-assign]


def _shape(value: object) -> object:
    return value.shape if isinstance(value, Tensor) else value
