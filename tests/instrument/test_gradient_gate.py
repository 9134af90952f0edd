"""The gate of training: a right output with wrong gradients is not let through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.instrument.gate import GRADIENT_TOLERANCE, GradientGate, Mismatch
from paraformer_bench.instrument.training import draw_labels, mean_loss
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.registry import MODELS

SPEC = ModelSpec(depth=2, width=16, heads=1, image=16, patch=8)


def build(model: str = "paraformer", dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return MODELS.get(model).factory(SPEC).to(dtype).eval()


def images(rows: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, 3, 16, 16, generator=torch.Generator().manual_seed(rows)).to(dtype)


def judge(
    model: nn.Module,
    x: Tensor,
    scope: str = "whole",
    run: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """What the gate says of a backward pass through ``run``, by default the model itself."""
    gate = GradientGate(model, x, scope, str(x.dtype).removeprefix("torch."))
    loss = mean_loss((run or model)(x), draw_labels(model, x, scope))
    loss.backward()
    return gate.relative_error(loss.detach())


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("scope", ["whole", "trunk"])
def test_the_reference_is_the_gradient_over_the_whole_batch(rows: int, scope: str) -> None:
    """It goes through the batch in parts; the model goes through all of it at once."""
    model = build(dtype=torch.float64)
    x = images(rows, torch.float64)
    if scope == "trunk":
        model, x = model.trunk, torch.randn(rows, SPEC.tokens, 16, dtype=torch.float64)
    assert judge(model, x, scope) < 1e-13


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16], ids=lambda dtype: str(dtype)
)
def test_the_model_itself_passes(dtype: torch.dtype) -> None:
    assert judge(build(dtype=dtype), images(2, dtype)) < 20 * torch.finfo(dtype).eps


def test_products_of_too_few_bits_are_refused() -> None:
    model, x = build(), images()
    low = build(dtype=torch.bfloat16)

    class Rounded(torch.autograd.Function):
        """The model's function, with gradients as bfloat16 computes them."""

        @staticmethod
        def forward(ctx, x, *weights):
            ctx.save_for_backward(x)
            return model(x)

        @staticmethod
        def backward(ctx, grad):
            with torch.enable_grad():
                out = low(ctx.saved_tensors[0].bfloat16())
                found = torch.autograd.grad(out, list(low.parameters()), grad.bfloat16())
            return None, *(g.float() for g in found)

    with pytest.raises(Mismatch, match="is allowed in float32"):
        judge(model, x, run=lambda x: Rounded.apply(x, *model.parameters()))


def test_a_scaled_gradient_is_refused() -> None:
    model = build()

    def run(x: Tensor) -> Tensor:
        out = model(x)
        return 1.01 * out - (0.01 * out).detach()

    with pytest.raises(Mismatch, match=r"^gradient of .*: relative error 0\.01 against the plain"):
        judge(model, images(), run=run)


@pytest.mark.parametrize("name", ["trunk.branches.1.0.norm_mlp.bias", "embedding.class_token"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_one_parameter_that_is_not_trained_is_refused(name: str, dtype: torch.dtype) -> None:
    model = build(dtype=dtype)

    def run(x: Tensor) -> Tensor:
        model.get_parameter(name).requires_grad_(False)
        return model(x)

    with pytest.raises(Mismatch, match=f"^gradient of {name}: relative error 1 against"):
        judge(model, images(2, dtype), run=run)


def test_swapped_gradients_are_refused() -> None:
    model = build()
    gate = GradientGate(model, images(), "whole", "float32")
    loss = mean_loss(model(images()), draw_labels(model, images(), "whole"))
    loss.backward()
    one, other = (model.trunk.branches[i][0].mlp.expand.weight for i in (0, 1))
    one.grad, other.grad = other.grad, one.grad
    with pytest.raises(
        Mismatch, match=r"^gradient of trunk\.branches\.\d\.0\.mlp\.expand\.weight"
    ):
        gate.relative_error(loss.detach())


def test_a_wrong_loss_is_refused() -> None:
    model = build()
    gate = GradientGate(model, images(), "whole", "float32")
    loss = mean_loss(model(images()), draw_labels(model, images(), "whole"))
    loss.backward()
    with pytest.raises(Mismatch, match=r"^loss: relative error 0\.01 against"):
        gate.relative_error(1.01 * loss.detach())
    with pytest.raises(Mismatch, match=r"^the loss holds infinity"):
        gate.relative_error(loss.detach() / 0)
    for wrong in (None, 1.0, torch.zeros(2)):
        with pytest.raises(Mismatch, match="no scalar loss"):
            gate.relative_error(wrong)


def test_nan_in_one_gradient_is_refused() -> None:
    model = build()
    gate = GradientGate(model, images(), "whole", "float32")
    loss = mean_loss(model(images()), draw_labels(model, images(), "whole"))
    loss.backward()
    model.head.norm.weight.grad[3] = float("nan")
    with pytest.raises(Mismatch, match=r"^the gradient of head\.norm\.weight holds NaN"):
        gate.relative_error(loss.detach())


def test_what_only_rounding_is_left_of_passes() -> None:
    """A bias common to all scores has no influence on their softmax; another is not used."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build()
            self.shift = nn.Parameter(torch.ones(()))
            self.unused = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x) + self.shift

    assert judge(Shifted(), images()) < GRADIENT_TOLERANCE["float32"] / 10


def test_the_model_is_left_alone() -> None:
    model = build()
    before = {name: p.clone() for name, p in model.named_parameters()}
    GradientGate(model, images(), "whole", "float32")
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
        assert torch.equal(parameter, before[name])
