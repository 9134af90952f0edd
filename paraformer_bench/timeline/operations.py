"""The operations of the host: of all recorded calls those that `instrument.counts` counts.

Counted are operations that PyTorch dispatches, without views and allocations. A trace also shows
what is around them (composites such as ``linear``, autograd's nodes) and inside them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from paraformer_bench.timeline.trace import HOST_OPERATION

_COMPOSITES = """
adaptive_avg_pool2d adjoint batch_norm broadcast_to chunk contiguous conv1d conv2d conv3d
cross_entropy_loss dropout einsum expand_as flatten group_norm instance_norm item layer_norm
linear log_softmax matmul movedim narrow nll_loss_nd outer pad ravel requires_grad_ reshape
reshape_as resolve_conj resolve_neg rms_norm scaled_dot_product_attention softmax square
swapaxes tensor_split to true_divide type_as unflatten unsafe_chunk
"""

_VIEWS = """
_reshape_alias alias as_strided detach diagonal expand lift_fresh permute select slice split
split_with_sizes squeeze t transpose unbind unfold unsqueeze view view_as
"""

_ALLOCATIONS = "_unsafe_view empty empty_like empty_strided new_empty new_empty_strided"

COMPOSITES = frozenset(_COMPOSITES.split())
"""Seen by their parts."""

VIEWS = frozenset(_VIEWS.split())
"""Other looks at the same memory."""

ALLOCATIONS = frozenset(_ALLOCATIONS.split())
"""Run nothing; the same ones as in `instrument.counts`."""

HELPERS = frozenset(("aten::copy_", "aten::_to_copy", "aten::fill_", "aten::zero_"))
"""What kernels call to fill their output: within an operation, no sign that it is a composite."""


def counts(name: str) -> bool:
    """Tell whether a ``cpu_op`` of this name, such as ``aten::add``, is an operation."""
    space, _, operation = name.partition("::")
    if not operation or space in ("autograd", "torch", "profiler"):
        return False  # nodes of autograd and marks of the profiler
    return space != "aten" or operation not in COMPOSITES | VIEWS | ALLOCATIONS


def host_operations(events: pd.DataFrame) -> pd.DataFrame:
    """Return the host's operations, none of them within another one.

    The events are ordered by start, those around others first.
    """
    calls = events[events["kind"] == HOST_OPERATION]
    counted = np.zeros(len(calls), dtype=np.bool_)
    threads = calls["thread"].to_numpy()
    for thread in pd.unique(threads):
        there = np.flatnonzero(threads == thread)
        counted[there] = _counted(calls.iloc[there])
    return calls[counted]


def _counted(calls: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which calls of one thread are operations.

    What an operation calls is part of it. But `torch.vmap` records an operation on all branches
    around those that it is made of: such a wrapper calls the operation of its own name, and within
    it the innermost ones count.
    """
    names = calls["name"].tolist()
    counts_by_name = {name: counts(name) for name in set(names)}
    parents = _parents(calls["start"].tolist(), calls["end"].tolist())
    wraps, holds = [False] * len(names), [False] * len(names)
    for call in range(len(names) - 1, -1, -1):
        name, parent = names[call], parents[call]
        if parent >= 0:
            wraps[parent] |= counts_by_name[name] and name == names[parent]
            holds[parent] |= holds[call] or (counts_by_name[name] and name not in HELPERS)
    counted, covered = np.zeros(len(names), dtype=np.bool_), [False] * len(names)
    for call, (name, parent) in enumerate(zip(names, parents, strict=True)):
        if parent >= 0:
            covered[call] = covered[parent] or bool(counted[parent])
            wraps[call] |= wraps[parent]
        wrapper = wraps[call] and holds[call]
        counted[call] = counts_by_name[name] and not covered[call] and not wrapper
    return counted


def _parents(starts: list[int], ends: list[int]) -> list[int]:
    """Return for each call the position of the innermost one around it, or -1."""
    parents, around = [], list[int]()
    for call, start in enumerate(starts):
        while around and ends[around[-1]] <= start:
            around.pop()
        parents.append(around[-1] if around else -1)
        around.append(call)
    return parents
