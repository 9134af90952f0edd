"""The correctness gate: what is timed must first compute the model's own function.

In training loss and gradients must be those of the plain loop.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import gradient, trained
from paraformer_bench.instrument.training import draw_labels, mean_loss
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported

References = dict[tuple[object, ...], Tensor]
"""Reference outputs already computed, by model and input: executions share them."""

TOLERANCE = {
    "float64": 1e-10,
    "float32": 1e-4,
    "tf32": 1e-2,  # its products round like float16's: 10 bits
    "float16": 1e-2,
    "bfloat16": 5e-2,
}
"""Largest relative error that rounding alone explains, at any depth we test."""

GRADIENT_TOLERANCE = TOLERANCE | {"bfloat16": 1e-1}
"""The same of gradients.

In bfloat16 wider than for outputs: 36 nets of depth 64 were off by 0.01 to 0.04. In float32 the
same nets were off by 4e-6 at most.
"""

_ROWS_AT_EACH_END = 2
_ROWS_AT_ONCE = 4
_SMALL = 0.01


class Mismatch(Exception):
    """The callable computes something else than the model; the message says how far off."""


def make_gate(
    case: Case, model: nn.Module, x: Tensor, references: References
) -> Callable[[object], float]:
    """Return what judges the result of a call of the case on ``x``, and returns its error.

    Must be called before an execution rewrites the model.
    """
    if case.mode == "train":
        return GradientGate(model, x, case.scope, case.dtype).relative_error
    key = (case.model, case.spec, case.batch, case.dtype, case.scope)
    if key not in references:
        references[key] = reference(model, x)
    return lambda output: relative_error(output, references[key], x, case.dtype)


def reference(model: nn.Module, x: Tensor) -> Tensor:
    """Run the model's plain loop in float64 on the rows of a batch that are compared.

    Must be called before an execution rewrites the model.

    Returns:
        The output for the first and last rows, in the host's memory: on the device it would be
        charged to some case.

    Raises:
        Mismatch: The model returns no tensor.
    """
    output = copy.deepcopy(model).double()(_ends(x).double())
    if not isinstance(output, Tensor):
        raise Mismatch(f"the model returned {type(output).__name__}, not a tensor")
    return output.cpu()


def relative_error(output: object, expected: Tensor, x: Tensor, precision: str) -> float:
    """Return ``||out - ref|| / ||ref||`` of an output for the batch ``x``.

    The rows that `reference` has computed are compared; ``precision``, that of the case, sets the
    tolerance.

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
    _refuse_infinite("output", output)
    error = _error("output", rows, expected, torch.linalg.vector_norm(expected))
    _refuse_beyond(TOLERANCE, precision, error)
    return error


class GradientGate:
    """Knows the loss and the gradients of the model's plain loop in float64.

    Rows of a batch are taken to be independent, as everywhere in the gate: the reference goes
    through the batch in small parts and needs the memory of one of them. It lies in the host's
    memory, and goes when this object goes: gradients are as large as the net, too large to be
    kept for the other executions.

    Must be made before an execution rewrites the model, which is in the precision of the case.

    Raises:
        Unsupported: The model has no parameters, or returns no scores.
    """

    def __init__(self, model: nn.Module, x: Tensor, scope: str, precision: str) -> None:
        self._model = model
        self._parameters = dict(model.named_parameters())
        if not self._parameters:
            raise Unsupported("the model has no parameters to train")
        self._precision = precision
        labels = draw_labels(model, x, scope)
        exact = copy.deepcopy(model).double()
        self._loss = 0.0
        parts = repeat(None) if labels is None else labels.split(_ROWS_AT_ONCE)
        for rows, part in zip(x.split(_ROWS_AT_ONCE), parts, strict=False):
            loss = mean_loss(exact(rows.double()), part) * (len(rows) / len(x))
            loss.backward()
            self._loss += loss.item()
        self._gradients = {
            name: torch.zeros_like(p, device="cpu") if p.grad is None else p.grad.cpu()
            for name, p in exact.named_parameters()
        }

    def relative_error(self, loss: object) -> float:
        """Return the largest relative error of the loss and of each parameter's gradient.

        That of a gradient is ``||g - ref|| / ||ref||``. A parameter whose gradient is below 1% of
        the whole net's is measured by that 1%: of a gradient that should be zero, nothing but
        rounding is left. Gradients are still where the step left them that returned ``loss``.

        Raises:
            Mismatch: The loss is no scalar, something is NaN or infinite, or an error is larger
                than `GRADIENT_TOLERANCE` allows.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise Mismatch("the training step returned no scalar loss")
        got = torch.tensor(loss.item(), dtype=torch.float64)
        expected = torch.tensor(self._loss, dtype=torch.float64)
        errors = {"loss": _error("loss", got, expected, expected.abs())}
        leaves = trained(self._model)
        norms = {name: torch.linalg.vector_norm(g) for name, g in self._gradients.items()}
        least = _SMALL * torch.linalg.vector_norm(torch.stack([*norms.values()]))
        for name, parameter in self._parameters.items():
            expected, grad = self._gradients[name], gradient(parameter, leaves)
            got = torch.zeros_like(expected) if grad is None else grad.cpu().double()
            scale = torch.maximum(norms[name], least)
            what = f"gradient of {name}"
            errors[what] = _error(what, got, expected, scale)
        worst = max(errors, key=lambda what: errors[what])
        _refuse_beyond(GRADIENT_TOLERANCE, self._precision, errors[worst], f"{worst}: ")
        return errors[worst]


def _ends(batch: Tensor) -> Tensor:
    """First and last rows of a batch: enough to see a wrong order, cheap at any batch."""
    if len(batch) <= 2 * _ROWS_AT_EACH_END:
        return batch
    return torch.cat((batch[:_ROWS_AT_EACH_END], batch[-_ROWS_AT_EACH_END:]))


def _error(what: str, got: Tensor, expected: Tensor, scale: Tensor) -> float:
    _refuse_infinite(what, got)
    _refuse_infinite(f"{what} of the reference", expected)
    return float(torch.linalg.vector_norm(got - expected) / scale.clamp_min(1e-300))


def _refuse_infinite(what: str, tensor: Tensor) -> None:
    if not torch.isfinite(tensor).all():
        kind = "NaN" if torch.isnan(tensor).any() else "infinity"
        raise Mismatch(f"the {what} holds {kind}")


def _refuse_beyond(
    tolerance: dict[str, float], precision: str, error: float, whose: str = ""
) -> None:
    if error > tolerance[precision]:
        raise Mismatch(
            f"{whose}relative error {error:.2g} against the plain loop in float64, "
            f"{tolerance[precision]:.0e} is allowed in {precision}"
        )
