"""Operations and FLOPs of a call, against torch's own counter and by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from paraformer_bench.instrument.counts import count
from paraformer_bench.study import child
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import block_flops, fixed_flops
from paraformer_bench.study.registry import MODELS

Call = Callable[[Tensor], object]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]

WEIGHT = torch.randn(6, 4)
BATCHED = torch.randn(2, 4, 6)
KERNEL = torch.randn(5, 3, 2, 2)

PRODUCTS: dict[str, tuple[Call, Tensor]] = {
    "linear": (lambda x: F.linear(x, WEIGHT, WEIGHT[:, 0]), torch.randn(2, 3, 4)),
    "linear without bias": (lambda x: F.linear(x, WEIGHT), torch.randn(3, 4)),
    "matmul, broadcast": (lambda x: x @ WEIGHT.T, torch.randn(2, 3, 4)),
    "mm": (lambda x: torch.mm(x, WEIGHT.T), torch.randn(3, 4)),
    "addmm": (lambda x: torch.addmm(WEIGHT[:, 0], x, WEIGHT.T), torch.randn(3, 4)),
    "bmm": (lambda x: torch.bmm(x, BATCHED), torch.randn(2, 3, 4)),
    "baddbmm": (lambda x: torch.baddbmm(BATCHED[:, :1], x, BATCHED), torch.randn(2, 3, 4)),
    "einsum": (lambda x: torch.einsum("bij,bjk->bik", x, BATCHED), torch.randn(2, 3, 4)),
    "convolution": (lambda x: F.conv2d(x, KERNEL, stride=2), torch.randn(2, 3, 8, 8)),
    "no product": (lambda x: F.gelu(F.layer_norm(x + 1, (4,))), torch.randn(3, 4)),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_products_count_as_torch_counts_them(name: str, mode: Callable[[], object]) -> None:
    call, x = PRODUCTS[name]
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        call(x)
    with mode():  # type: ignore[attr-defined]
        assert count(call, x).flops == theirs.get_total_flops()


def test_in_place_products_count_too() -> None:
    """Torch's counter says nothing of these."""
    out, x = torch.zeros(2, 3, 6), torch.randn(2, 3, 4)
    assert count(lambda x: out.baddbmm_(x, BATCHED), x).flops == 2 * (2 * 3 * 4 * 6)
    assert count(lambda x: out[0].addmm_(x, WEIGHT.T), x[0]).flops == 2 * (3 * 4 * 6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_attention_on_a_cpu_counts(dtype: torch.dtype, mode: Callable[[], object]) -> None:
    """Torch's counter silently counts zero here: batch 2, heads 3, tokens 5, features 8."""
    x = torch.randn(2, 3, 5, 8, dtype=dtype)
    with mode():  # type: ignore[attr-defined]
        found = count(lambda x: F.scaled_dot_product_attention(x, x, x), x)
    assert found.flops == 2 * 3 * 2 * (2 * 5 * 5 * 8)
    assert found.operations == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention_backward_on_a_cpu_counts(dtype: torch.dtype) -> None:
    """Five products of the size of the forward pass's two: the scores are computed again."""
    x = torch.randn(2, 3, 5, 8, dtype=dtype, requires_grad=True)
    found = count(lambda x: F.scaled_dot_product_attention(x, x, x).sum().backward(), x)
    assert found.flops == 2 * 3 * (2 + 5) * (2 * 5 * 5 * 8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("name", ["serial", "paraformer", "paraformer_code"])
def test_a_whole_net_equals_the_analytic_count(
    name: str, mode: Callable[[], object], dtype: torch.dtype
) -> None:
    spec = ModelSpec(depth=2, width=32, heads=2, image=32)
    model = MODELS.get(name).factory(spec).to(dtype).eval()
    with mode():  # type: ignore[attr-defined]
        found = count(model, torch.randn(3, 3, 32, 32, dtype=dtype))
    assert found.flops == spec.depth * block_flops(spec, 3) + fixed_flops(spec, 3)


def test_operations_leave_out_views_and_allocations() -> None:
    x = torch.randn(4, 4)
    assert count(lambda x: x.view(2, 8).T.unsqueeze(0), x).operations == 0
    assert count(lambda x: torch.empty_like(x).new_empty(3), x).operations == 0
    assert count(lambda x: x + 1, x).operations == 1
    assert count(lambda x: F.gelu(x + 1).mul_(2), x).operations == 3
    # A reshape that must copy is an operation, one that need not is a view.
    assert count(lambda x: x.reshape(2, 8), x).operations == 0
    assert count(lambda x: x.T.reshape(2, 8), x).operations == 1
    assert count(nn.Linear(4, 4), x).operations == 1


def test_marks_for_profilers_are_no_operations() -> None:
    def marked(x: Tensor) -> Tensor:
        with torch.profiler.record_function("here"):
            return x + 1

    assert count(marked, torch.zeros(2)).operations == 1


def test_counting_calls_once_and_returns_to_normal() -> None:
    seen: list[Tensor] = []
    x = torch.randn(2, 2)
    count(seen.append, x)
    assert len(seen) == 1
    assert seen[0] is x
    assert type(x + 1) is Tensor


def test_an_error_in_the_call_comes_through() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        count(lambda x: x @ x, torch.randn(2, 3))
    assert count(lambda x: x + 1, torch.zeros(1)).operations == 1


def test_counting_does_not_load_the_compiler() -> None:
    """TorchDynamo takes over a second to import, in every worker."""
    code = """
import json, sys, torch
from paraformer_bench.instrument.counts import count
with torch.inference_mode():
    flops = count(torch.nn.Linear(4, 6), torch.randn(3, 4)).flops
print(json.dumps([flops, "torch._dynamo" in sys.modules]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=child.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == [2 * 3 * 4 * 6, False]


def test_work_says_how_often_how_much_and_how_many_bytes() -> None:
    x = torch.randn(3, 4)

    def call(x: Tensor) -> object:
        y = torch.addmm(WEIGHT[:, 0], x, WEIGHT.T)  # 6 + 12 + 24 numbers in, 18 out
        y = F.gelu(y)
        F.gelu(y)
        return y.add_(WEIGHT[:1, 0].expand(3, 6))  # 18 and the one that is expanded in, 18 out

    with torch.inference_mode():
        counts = count(call, x)
    assert counts.work == [
        ("addmm", 1, 2 * 3 * 4 * 6, 4 * (6 + 12 + 24 + 18)),
        ("gelu", 2, 0, 4 * (18 + 18)),
        ("add_", 1, 0, 4 * (18 + 1 + 18)),
    ]
    assert counts.operations == 4
    assert counts.flops == 2 * 3 * 4 * 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_bytes_follow_the_precision(dtype: torch.dtype) -> None:
    [(_, _, _, size)] = count(lambda x: x + 1, torch.zeros(8, dtype=dtype)).work
    assert size == 2 * 8 * dtype.itemsize
