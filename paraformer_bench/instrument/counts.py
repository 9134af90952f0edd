"""Counting the operations of one call, and the arithmetic in them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

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
        work: The operations by kind and size, in the order of their first dispatch: name, how
            often, FLOPs of one, bytes that one reads and writes. What lies in memory once counts
            once in a tensor, however often it is expanded.
    """

    operations: int
    flops: int
    work: list[tuple[str, int, int, int]]


def count(call: Callable[[Tensor], object], x: Tensor) -> Counts:
    """Call once and count, with the formulas of ``torch.utils.flop_counter``.

    Its `FlopCounterMode` itself is not used: it imports TorchDynamo (over a second in every
    worker) and silently counts the CPU's attention and in-place products as zero.
    """
    with _CountingMode() as mode:
        call(x)
    work = [(name, times, flops, size) for (name, flops, size), times in mode.seen.items()]
    return Counts(
        operations=sum(times for _, times, _, _ in work),
        flops=sum(times * flops for _, times, flops, _ in work),
        work=work,
    )


def _product(total: object, left: Sequence[int], right: Sequence[int], *_: Any) -> int:
    """Operations of a (batched) product added in place, from the shapes of its factors."""
    return 2 * math.prod(left) * right[-1]


_UNTOLD: Mapping[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_: sdpa_flop_count(query, key, value)
    ),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, query, key, value, *_: sdpa_backward_flop_count(grad, query, key, value)
    ),
    _aten.addmm_: _product,
    _aten.baddbmm_: _product,
}


class _CountingMode(TorchDispatchMode):
    """Sees every operation below autograd, as `FlopCounterMode` does."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.seen: Counter[tuple[str, int, int]] = Counter()


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
    if func.is_view or packet in _NO_KERNEL or func.namespace == "profiler":
        return out  # the last: an optimiser marks its steps for profilers
    flops = 0
    if packet in _UNTOLD:
        shapes = tree_map(lambda value: value.shape if isinstance(value, Tensor) else value, args)
        flops = _UNTOLD[packet](*shapes)
    elif packet in flop_registry:
        flops = int(flop_registry[packet](*args, **kwargs, out_val=out))
    size = _bytes(tree_leaves((args, kwargs))) + _bytes(tree_leaves(out))
    mode.seen[packet.__name__, flops, size] += 1
    return out


# Set after the class is made: what stands in its body, torch wraps in a call into TorchDynamo.
_CountingMode.__torch_dispatch__ = _dispatch  # type: ignore[assignment, method-assign]


def _bytes(values: Iterable[object]) -> int:
    """Memory that tensors cover; what is expanded has a stride of 0."""
    return sum(
        value.element_size()
        * math.prod(n for n, step in zip(value.shape, value.stride(), strict=True) if step)
        for value in values
        if isinstance(value, Tensor)
    )
