"""Which of a host's recorded calls are operations, as `instrument.counts` counts them.

Counted are operations that PyTorch dispatches, without views and allocations. A trace also shows
what is around them (composites such as ``linear``, autograd's nodes) and inside them.
"""

from __future__ import annotations

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

_NOT_COUNTED = COMPOSITES | VIEWS | ALLOCATIONS


def counts(name: str) -> bool:
    """Tell whether a recorded call is an operation.

    Args:
        name: Of a ``cpu_op``: ``aten::add``, ``autograd::engine::evaluate_function: …``.
    """
    space, _, operation = name.partition("::")
    if not operation or space in ("autograd", "torch", "profiler"):
        return False  # nodes of autograd and marks of the profiler
    return space != "aten" or operation not in _NOT_COUNTED
