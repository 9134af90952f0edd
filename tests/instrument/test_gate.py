"""The correctness gate: what may be timed and what may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paraformer_bench.instrument import precision
from paraformer_bench.instrument.gate import TOLERANCE, Mismatch, reference, relative_error
from paraformer_bench.study.case import DTYPES


class Cube(nn.Module):
    """Something whose float64 value is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.25), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x**3


def batch(rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows)).to(dtype)


def check(x: Tensor, output: Any) -> float:
    name = str(x.dtype).removeprefix("torch.")
    return relative_error(output, reference(Cube().to(x.dtype), x), x, name)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 64])
def test_the_model_itself_passes(name: str, rows: int) -> None:
    dtype = precision.storage(name)
    x = batch(rows, dtype)
    error = relative_error(Cube().to(dtype)(x), reference(Cube().to(dtype), x), x, name)
    assert error <= 4 * torch.finfo(dtype).eps < TOLERANCE[name]


def test_the_reference_is_float64_and_leaves_the_model_alone() -> None:
    model, x = Cube(), batch(3)
    expected = reference(model, x)
    assert expected.dtype == torch.float64
    assert torch.equal(expected, 1.25 * x.double() ** 3)
    assert model.weight.dtype == torch.float32


def test_the_reference_covers_both_ends_of_a_large_batch() -> None:
    x = batch(64)
    expected = reference(Cube(), x)
    assert torch.equal(expected, 1.25 * torch.cat((x[:2], x[-2:])).double() ** 3)


@pytest.mark.parametrize("wrap", [lambda y: (y,), lambda y: {"y": y}, lambda y: None])
def test_a_model_that_returns_no_tensor_is_a_mismatch(wrap: Callable[[Tensor], Any]) -> None:
    class Wrapped(Cube):
        def forward(self, x: Tensor) -> Any:
            return wrap(super().forward(x))

    kind = type(wrap(X)).__name__
    with pytest.raises(Mismatch, match=f"^the model returned {kind}, not a tensor$"):
        reference(Wrapped(), X)


def test_the_error_is_the_relative_norm() -> None:
    x = batch(4, torch.float64)
    assert check(x, Cube()(x) * (1 + 1e-11)) == pytest.approx(1e-11, rel=1e-3)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.float64, 1e-9),
        (torch.float32, 3e-4),  # what TF32 in place of float32 gives
        (torch.float16, 0.02),
        (torch.bfloat16, 0.1),
    ],
)
def test_an_error_beyond_rounding_is_refused(dtype: torch.dtype, size: float) -> None:
    x = batch(4, dtype)
    with pytest.raises(Mismatch, match=rf"{str(dtype).removeprefix('torch.')}$"):
        check(x, Cube().double()(x.double()) * (1 + size))


def test_products_rounded_as_tf32_rounds_them_are_refused() -> None:
    """TF32 keeps 10 bits of the mantissa of each factor."""
    torch.manual_seed(0)
    first, second = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
    layer = nn.Sequential(first, second)
    x = torch.randn(4, 64)

    def rounded(t: Tensor) -> Tensor:
        return ((t.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    with torch.no_grad():
        expected = reference(layer, x)
        assert relative_error(layer(x), expected, x, "float32") < 1e-6
        hidden = rounded(x) @ rounded(first.weight).T
        output = rounded(hidden) @ rounded(second.weight).T
        with pytest.raises(Mismatch, match="float32"):
            relative_error(output, expected, x, "float32")
        # Where TF32 was asked for, it is what is expected.
        assert 1e-4 < relative_error(output, expected, x, "tf32") < 1e-3


def test_float32_does_not_pass_as_float64() -> None:
    x = batch(4, torch.float64)
    with pytest.raises(Mismatch):
        check(x, Cube()(x).float())


X = batch(6)
GOOD = 1.25 * X**3


def spoilt(row: int, value: float) -> Tensor:
    output = GOOD.clone()
    output[row, 2] = value
    return output


def swapped(first: int, second: int) -> Tensor:
    output = GOOD.clone()
    output[[first, second]] = output[[second, first]]
    return output


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (torch.zeros_like(GOOD), "relative error 1 against"),
        (-GOOD, "relative error 2 against"),
        (spoilt(0, float("nan")), "the output holds NaN"),
        (spoilt(5, float("inf")), "the output holds infinity"),
        (spoilt(3, float("nan")), "the output holds NaN"),  # a row that is not compared
        (GOOD[:, :3], r"rows have shape \(4, 3\), the reference's \(4, 4\)"),
        (GOOD.unsqueeze(1), "rows have shape"),
        (GOOD[:5], r"shape \(5, 4\) for a batch of 6"),
        (GOOD.sum(), r"shape \(\) for a batch of 6"),
        (None, "NoneType, not a tensor"),
        ((GOOD,), "tuple, not a tensor"),
        (GOOD.numpy(), "ndarray, not a tensor"),
        (swapped(0, 1), "relative error"),
        (swapped(0, 5), "relative error"),
        (swapped(1, 3), "relative error"),
        (GOOD.flip(0), "relative error"),
        (GOOD.roll(1, 0), "relative error"),
    ],
)
def test_anything_else_is_a_mismatch(output: Any, words: str) -> None:
    with pytest.raises(Mismatch, match=words):
        check(X, output)


def test_a_model_that_is_not_finite_itself_cannot_be_checked() -> None:
    x = torch.full((2, 4), 1e200, dtype=torch.float64)  # its cube overflows
    with pytest.raises(Mismatch, match="the output of the reference holds infinity"):
        relative_error(torch.ones(2, 4), reference(Cube(), x), x, "float64")


def test_an_output_of_nothing_but_zeros_can_be_right() -> None:
    x = torch.zeros(2, 4)
    assert check(x, torch.zeros(2, 4)) == 0
