"""One step of training as a call that can be timed: forward, backward, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paraformer_bench.executions._branches import Forward, trained
from paraformer_bench.study.case import Case, ModelSpec
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import MODELS

LEARNING_RATE = 1e-20
"""So small that no weight moves in any precision, while the arithmetic is that of any other.

Every timed step then does the same, and the gate may look at a step that is not the first: a CUDA
graph is captured after warm-up steps.
"""


class TrainingStep:
    """Forward, mean loss, backward and one step of AdamW.

    Gradients of the last call stay until the next one begins. For ``leaves`` see
    `executions._branches.trained`, for ``labels`` `mean_loss`.
    """

    def __init__(self, run: Forward, leaves: Sequence[Tensor], labels: Tensor | None) -> None:
        self._run = run
        self._labels = labels
        # On a GPU its counter of steps must lie there, or a CUDA graph could not hold the step.
        self._optimizer = torch.optim.AdamW(leaves, lr=LEARNING_RATE, capturable=leaves[0].is_cuda)

    def __call__(self, x: Tensor) -> Tensor:
        """Train on the batch ``x``; return its loss before the step, a scalar without history."""
        self._optimizer.zero_grad(set_to_none=True)
        if self._labels is None:  # a trunk: in a whole net the embedding needs this gradient
            x = x.detach().requires_grad_()
        loss = mean_loss(self._run(x), self._labels)
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def make_step(
    model: nn.Module,
    execute: Callable[[nn.Module, Tensor], Forward],
    example: Tensor,
    scope: str,
) -> TrainingStep:
    """Put a model under its execution and make the step that trains what that has left of it.

    Raises:
        Unsupported: The net cannot be trained by this step.
    """
    labels = draw_labels(model, example, scope)
    run = execute(model, example)
    leaves = trained(model)
    if not leaves:
        raise Unsupported("the execution leaves no parameters to train")
    return TrainingStep(run, leaves, labels)


def draw_labels(model: nn.Module, x: Tensor, scope: str) -> Tensor | None:
    """Draw a class for every row of the batch ``x``, always the same; none for a trunk.

    Raises:
        Unsupported: The model returns no scores.
    """
    if scope == "trunk":
        return None
    with torch.no_grad():
        scores = model(x[:1])
    if not isinstance(scores, Tensor) or scores.dim() != 2 or not scores.is_floating_point():
        raise Unsupported("training needs a model that returns scores (batch, classes)")
    generator = torch.Generator(x.device).manual_seed(0)
    return torch.randint(scores.shape[1], (len(x),), device=x.device, generator=generator)


def mean_loss(output: Tensor, labels: Tensor | None) -> Tensor:
    """Cross-entropy of scores (batch, classes) with labels, or without them the mean square.

    Computed in float32 where the output is less precise.
    """
    output = output if output.dtype == torch.float64 else output.float()
    return output.square().mean() if labels is None else F.cross_entropy(output, labels)


def recording() -> torch.inference_mode:
    """Return a context with inference mode off and gradients on, whatever is around it."""
    return torch.inference_mode(False)


def in_its_mode(case: Case) -> torch.inference_mode:
    """Return the context to build a case in: gradients are recorded for one to be trained.

    Tensors made under the worker's inference mode could never take part in a backward pass.
    """
    return torch.inference_mode(case.mode != "train")


def get_ready(case: Case, device: torch.device) -> None:
    """Do what the first training step of a process would be charged for; nothing for inference.

    Raises:
        Unsupported: Training in this precision makes no sense.
    """
    if case.mode != "train":
        return
    if case.dtype == "float16":
        # Adam's squares of gradients would be zero, and its steps infinite.
        raise Unsupported("training in float16 needs a loss scaler, which is not part of a step")
    _load(device)


@cache
def _load(device: torch.device) -> None:
    """Train a small net once: the optimiser imports TorchDynamo, 2 s and 70 MB on one machine."""
    with device:
        model = MODELS.get("serial").factory(ModelSpec(depth=1, width=64, heads=1, image=32))
        images = torch.randn(1, 3, 32, 32)
    make_step(model, lambda model, _: model, images, "whole")(images)
