"""Which status and reason an exception becomes."""

from __future__ import annotations

import pytest
import torch

from paraformer_bench.instrument.device import describe, is_out_of_memory
from paraformer_bench.instrument.gate import Mismatch
from paraformer_bench.study.errors import Unsupported


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Unsupported("needs branches"), "skipped", "needs branches"),
        (Mismatch("relative error 1"), "mismatch", "relative error 1"),
        (ValueError("no such head"), "error", "ValueError: no such head"),
        (RuntimeError("first\nsecond"), "error", "RuntimeError: first"),
        (KeyError("x"), "error", "KeyError: 'x'"),
        (AssertionError(), "error", "AssertionError: "),
        (RuntimeError("CUDA error: device-side assert triggered\nCompile with"), "error",
         "RuntimeError: CUDA error: device-side assert triggered"),
        (MemoryError(), "oom", ""),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), "oom",
         "CUDA out of memory. Tried to"),
        (RuntimeError("CUDA error: out of memory\nCompile with"), "oom",
         "CUDA error: out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "oom",
         "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom",
         "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError("std::bad_alloc"), "oom", "std::bad_alloc"),
        (ValueError("can't allocate memory"), "error", "ValueError: can't allocate memory"),
    ],
)  # fmt: skip
def test_status_and_reason(error: Exception, status: str, reason: str) -> None:
    assert describe(error) == (status, reason)


@pytest.mark.parametrize("shape", [(2**56,), (2**62,), (2**40, 2**40)])
def test_a_size_that_no_machine_has_is_out_of_memory(shape: tuple[int, ...]) -> None:
    """From an allocation that the system refuses to sizes beyond 64 bits."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(shape)
    assert describe(caught.value)[0] == "oom"


def test_other_runtime_errors_are_not() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not is_out_of_memory(caught.value)
    assert describe(caught.value)[1].startswith("RuntimeError: mat1 and mat2 shapes")
