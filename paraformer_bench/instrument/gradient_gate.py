"""The correctness gate of training: loss and gradients must be those of the plain loop."""

from __future__ import annotations

import copy
from itertools import repeat

import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import gradient, trained
from paraformer_bench.instrument.gate import TOLERANCE, Mismatch
from paraformer_bench.instrument.training import draw_labels, mean_loss
from paraformer_bench.study.errors import Unsupported

GRADIENT_TOLERANCE = TOLERANCE | {"bfloat16": 1e-1}
"""Largest relative error that rounding alone explains.

In bfloat16 wider than for outputs: 36 nets of depth 64 were off by 0.01 to 0.04. In float32 the
same nets were off by 4e-6 at most.
"""

_ROWS_AT_ONCE = 4
_SMALL = 0.01


class GradientGate:
    """Knows the loss and the gradients of the model's plain loop in float64.

    Rows of a batch are taken to be independent, as everywhere in the gate: the reference goes
    through the batch in small parts and needs the memory of one of them. It lies in the host's
    memory, and goes when this object goes: gradients are as large as the net, too large to be
    kept for the other executions.

    Must be made before an execution rewrites the model.

    Args:
        model: As built, in the precision of the case.
        x: The batch that the checked step will get.
        scope: ``whole`` or ``trunk``.
        precision: Name of the case's precision, which sets the tolerance.

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
        for rows, some in zip(x.split(_ROWS_AT_ONCE), parts, strict=False):
            loss = mean_loss(exact(rows.double()), some) * (len(rows) / len(x))
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
        rounding is left.

        Args:
            loss: What the step has returned just now; gradients are still where it left them.

        Raises:
            Mismatch: The loss is no scalar, something is NaN or infinite, or an error is larger
                than `GRADIENT_TOLERANCE` allows.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise Mismatch("the training step returned no scalar loss")
        found = torch.tensor(loss.item(), dtype=torch.float64)
        expected = torch.tensor(self._loss, dtype=torch.float64)
        errors = {"loss": _error("loss", found, expected, expected.abs())}
        leaves = trained(self._model)
        norms = {name: torch.linalg.vector_norm(g) for name, g in self._gradients.items()}
        least = _SMALL * torch.linalg.vector_norm(torch.stack([*norms.values()]))
        for name, parameter in self._parameters.items():
            exact, got = self._gradients[name], gradient(parameter, leaves)
            got = torch.zeros_like(exact) if got is None else got.cpu().double()
            what = f"gradient of {name}"
            errors[what] = _error(what, got, exact, torch.maximum(norms[name], least))
        worst = max(errors, key=lambda what: errors[what])
        allowed = GRADIENT_TOLERANCE[self._precision]
        if errors[worst] > allowed:
            raise Mismatch(
                f"{worst}: relative error {errors[worst]:.2g} against the plain loop in float64, "
                f"{allowed:.0e} is allowed in {self._precision}"
            )
        return errors[worst]


def _error(what: str, found: Tensor, expected: Tensor, scale: Tensor) -> float:
    if not torch.isfinite(found).all():
        raise Mismatch(f"the {what} holds NaN or infinity")
    if not torch.isfinite(expected).all():
        raise Mismatch(f"the {what} holds NaN or infinity in the reference")
    return float(torch.linalg.vector_norm(found - expected) / scale.clamp_min(1e-300))
