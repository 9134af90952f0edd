"""Memory of one case: the GPU allocator's counters, or the process's resident set.

And what must be settled before it is looked at: malloc, limits, the workspaces of cuBLAS.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from paraformer_bench.instrument import precision
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS, RUNTIMES

FULL = 0.5
"""Share of the memory in use beyond which a worker lets go of the cases it keeps ready."""

_SIDE = 64
_NO_RESERVED = {"reserved_bytes": "the CPU allocator keeps no reserve"}


@dataclass(frozen=True)
class Peak:
    """Peak memory of a call in bytes, above what was in use before the case was built."""

    peak_bytes: int | None
    reserved_bytes: int | None
    null_reasons: dict[str, str]


class CudaMemory:
    """PyTorch's caching allocator, whose counts are exact."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._allocated = self._reserved = 0

    def mark(self) -> None:
        """Empty the cache, then note what is allocated and reserved."""
        release(self._device)
        self._allocated = torch.cuda.memory_allocated(self._device) + self._kept_by_graphs()
        self._reserved = torch.cuda.memory_reserved(self._device)

    def peak(self, call: Callable[[], object]) -> Peak:
        """Peak allocated and reserved bytes of one call, weights included."""
        release(self._device)  # the correctness gate has left its float64 blocks in the cache
        torch.cuda.reset_peak_memory_stats(self._device)
        call()
        torch.cuda.synchronize(self._device)
        allocated = torch.cuda.max_memory_allocated(self._device) + self._kept_by_graphs()
        reserved = torch.cuda.max_memory_reserved(self._device)
        return Peak(allocated - self._allocated, max(reserved - self._reserved, 0), {})

    def full(self) -> bool:
        """Whether the allocator holds more than `FULL` of the device."""
        total = torch.cuda.get_device_properties(self._device).total_memory
        return torch.cuda.memory_reserved(self._device) > FULL * total

    def _kept_by_graphs(self) -> int:
        """Bytes that CUDA graphs work in when replayed, which the allocator counts as free.

        A graph keeps the blocks of its capture in a pool of its own; nobody else can use them.
        """
        return sum(
            segment["total_size"] - segment["allocated_size"]
            for segment in torch.cuda.memory_snapshot()
            if segment["device"] == self._device.index and any(segment["segment_pool_id"])
        )


class CpuMemory:
    """The worker's resident set, as Linux accounts for it."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = 0

    def mark(self) -> None:
        """Give free heap pages back, then note the resident set."""
        release(torch.device("cpu"))
        self._before = self._process.memory_info().rss

    def peak(self, call: Callable[[], object]) -> Peak:
        """Peak resident bytes during one call, weights included, above the last `mark`."""
        release(torch.device("cpu"))
        try:
            # Writing 5 resets the peak resident set (Linux, proc(5), clear_refs).
            Path("/proc/self/clear_refs").write_text("5")
            call()
            status = Path("/proc/self/status").read_text()
        except OSError as error:
            reason = f"no peak resident set: {error}"
            return Peak(None, None, _NO_RESERVED | {"peak_bytes": reason})
        [high_water] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        peak = int(high_water.split()[1]) * 1024 - self._before
        return Peak(max(peak, 0), None, _NO_RESERVED)

    def full(self) -> bool:
        """Whether the worker's resident set is more than `FULL` of the machine's memory."""
        return bool(self._process.memory_info().rss > FULL * psutil.virtual_memory().total)


Memory = CudaMemory | CpuMemory


def steady_malloc() -> None:
    """Give glibc's malloc its final thresholds at once, so that a case's past does not matter.

    A process starts by giving much of what is freed back to the system, and every call touches
    it again as fresh pages: 400 page faults and 5% of the time of a small net, for instance. As
    soon as a large block has been freed once, malloc keeps as much (mallopt(3), up to 32 MiB a
    block). Without this, whatever frees such a block first would speed up all later cases.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and sys.platform == "linux":
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_mmap_threshold, 32 * 2**20)
        mallopt(m_trim_threshold, 64 * 2**20)


def refuse_the_impossible() -> None:
    """Make allocations fail that the machine's memory cannot hold (Linux).

    Linux grants more memory than there is and kills a process that uses it: this limit turns
    that into an exception, which ends one case instead of the worker.
    """
    if sys.platform == "linux":
        limit = psutil.virtual_memory().available + psutil.Process().memory_info().data
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def release(device: torch.device) -> None:
    """Give memory that nobody refers to back to the device or the system."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, others may not
    if trim is not None:
        trim(0)


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
    dtype, train = precision.storage(case.dtype), case.mode == "train"

    def product() -> None:
        do_products(dtype, device, train=train)

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
    square = torch.ones(_SIDE, _SIDE, dtype=dtype, device=device, requires_grad=train)
    out = torch.addmm(square[0].detach(), square, square).mm(square)
    if train:
        out.sum().backward()
