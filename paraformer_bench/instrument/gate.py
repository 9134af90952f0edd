"""The correctness gate: what is timed must first compute the model's own function."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

TOLERANCE = {
    "float64": 1e-10,
    "float32": 1e-4,
    "tf32": 1e-2,  # its products round like float16's: 10 bits
    "float16": 1e-2,
    "bfloat16": 5e-2,
}
"""Largest relative error that rounding alone explains, at any depth we test."""

_ROWS_AT_EACH_END = 2


class Mismatch(Exception):
    """The callable computes something else than the model; the message says how far off."""


def reference(model: nn.Module, x: Tensor) -> Tensor:
    """Run the model's plain loop in float64 on the first and last rows of a batch.

    Must be called before an execution rewrites the model.

    Args:
        model: The model as built, in the precision of the case.
        x: The batch the callable will get, first axis the batch.

    Returns:
        The float64 output for the rows that `relative_error` compares, in the host's memory:
        on the device it would be charged to some case.

    Raises:
        Mismatch: The model returns no tensor.
    """
    output = copy.deepcopy(model).double()(_ends(x).double())
    if not isinstance(output, Tensor):
        raise Mismatch(f"the model returned {type(output).__name__}, not a tensor")
    return output.cpu()


def relative_error(output: object, expected: Tensor, x: Tensor, precision: str) -> float:
    """Return ``||out - ref|| / ||ref||`` over the compared rows.

    Args:
        output: What the callable returned for the whole batch.
        expected: What `reference` returned.
        x: The batch.
        precision: Name of the case's precision, which sets the tolerance.

    Raises:
        Mismatch: The output is no tensor of the right shape, holds NaN or infinity in any
            row, or is further off than `TOLERANCE` allows.
    """
    if not isinstance(output, Tensor):
        raise Mismatch(f"the output is {type(output).__name__}, not a tensor")
    if output.dim() == 0 or len(output) != len(x):
        raise Mismatch(f"the output has shape {tuple(output.shape)} for a batch of {len(x)}")
    rows = _ends(output).cpu().double()
    if rows.shape != expected.shape:
        raise Mismatch(
            f"the output's rows have shape {tuple(rows.shape)}, the reference's "
            f"{tuple(expected.shape)}"
        )
    for name, tensor in (("output", output), ("reference", expected)):
        if not torch.isfinite(tensor).all():
            kind = "NaN" if torch.isnan(tensor).any() else "infinity"
            raise Mismatch(f"the {name} holds {kind}")
    scale = torch.linalg.vector_norm(expected)
    error = float(torch.linalg.vector_norm(rows - expected) / scale.clamp_min(1e-300))
    if error > TOLERANCE[precision]:
        raise Mismatch(
            f"relative error {error:.2g} against the plain loop in float64, "
            f"{TOLERANCE[precision]:.0e} is allowed in {precision}"
        )
    return error


def _ends(batch: Tensor) -> Tensor:
    """First and last rows of a batch: enough to see a wrong order, cheap at any batch."""
    if len(batch) <= 2 * _ROWS_AT_EACH_END:
        return batch
    return torch.cat((batch[:_ROWS_AT_EACH_END], batch[-_ROWS_AT_EACH_END:]))
