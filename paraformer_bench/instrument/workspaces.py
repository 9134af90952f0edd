"""The workspaces that cuBLAS keeps, made before the memory of a case is looked at."""

from __future__ import annotations

import torch

from paraformer_bench.instrument import precision
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS, RUNTIMES

_SIZE = 64


def make_workspaces(case: Case, device: torch.device) -> None:
    """Have all workspaces made that the products of a case will use on a GPU.

    PyTorch keeps one for every cuBLAS handle, of which each thread has its own, and stream
    (CublasHandlePool.cpp; 32 MiB on Hopper), so the first case of a process to use a stream would
    be charged for what the others find there. To be called before every case: in torch 2.13
    (not yet in 2.11) that of the capture stream is given back when a CUDA graph goes.
    """
    if device.type != "cuda":
        return

    execution, runtime = EXECUTIONS.get(case.execution), RUNTIMES.get(case.runtime)
    branches = max(case.depth, 2)  # one block may be two of them, as in `parallel_block`

    def product() -> None:
        do_products(precision.storage(case.dtype), device, train=case.mode == "train")

    def call() -> None:
        product()
        if execution.warm is not None:
            execution.warm(product, branches)

    call()
    if runtime.warm is not None:
        runtime.warm(call, branches)
    torch.cuda.synchronize(device)


def do_products(dtype: torch.dtype, device: torch.device, *, train: bool) -> None:
    """Do a small product with and one without a bias, which cuBLASLt and cuBLAS may compute.

    With ``train`` the products of their backward pass too: autograd has a thread of its own.
    """
    square = torch.ones(_SIZE, _SIZE, dtype=dtype, device=device, requires_grad=train)
    out = torch.addmm(square[0].detach(), square, square).mm(square)
    if train:
        out.sum().backward()
