"""Peak memory against known allocations, and CUDA's accounts on a stand-in for its allocator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from paraformer_bench.instrument import memory
from paraformer_bench.instrument.memory import CpuMemory, CudaMemory
from paraformer_bench.study import child

MIB = 2**20

needs_clear_refs = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="no /proc/self/clear_refs here"
)


def allocate(mib: int) -> torch.Tensor:
    return torch.ones(mib * MIB, dtype=torch.uint8)


@needs_clear_refs
def test_the_peak_of_a_call_is_what_it_allocates() -> None:
    host = CpuMemory()
    host.mark()
    peak = host.peak(lambda: allocate(64))
    assert peak.peak_bytes == pytest.approx(64 * MIB, abs=4 * MIB)
    assert peak.reserved_bytes is None
    assert list(peak.null_reasons) == ["reserved_bytes"]


@needs_clear_refs
def test_what_is_held_since_the_mark_counts_and_what_was_freed_does_not() -> None:
    host = CpuMemory()
    older = allocate(16)
    host.mark()
    weights = allocate(32)
    allocate(128)  # freed at once, as the gate's float64 copy is
    peak = host.peak(lambda: allocate(64))
    assert peak.peak_bytes == pytest.approx((32 + 64) * MIB, abs=4 * MIB)
    assert len(weights) + len(older) == 48 * MIB


@needs_clear_refs
def test_a_call_that_allocates_nothing_has_no_peak_to_speak_of() -> None:
    host = CpuMemory()
    host.mark()
    assert host.peak(lambda: None).peak_bytes == pytest.approx(0, abs=2 * MIB)


def test_without_a_peak_resident_set_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    peak = CpuMemory().peak(lambda: None)
    assert peak.peak_bytes is None
    assert "Permission denied" in peak.null_reasons["peak_bytes"]


def test_memory_is_full_beyond_half_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    host = CpuMemory()
    rss = host._process.memory_info().rss
    for total, full in ((4 * rss, False), (rss, True)):
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda total=total: SimpleNamespace(total=total)
        )
        assert host.full() is full


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_that_is_not_there_is_refused_and_the_process_lives_on() -> None:
    """In a process of its own; nothing allocated here is ever touched."""
    code = """
import json, psutil, torch
from paraformer_bench.instrument.device import is_out_of_memory
from paraformer_bench.instrument.memory import refuse_the_impossible

def attempt(size, many):
    held = []
    try:
        for _ in range(many):
            held.append(torch.empty(size, dtype=torch.uint8))
    except Exception as error:
        return is_out_of_memory(error)
    return False

available = psutil.virtual_memory().available
refuse_the_impossible()
print(json.dumps([
    attempt(available // 4, 1), attempt(4 * available, 1), attempt(available // 8, 16),
    attempt(available // 4, 1),
]))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=child.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == [False, True, True, False]


class Allocator:
    """What PyTorch's CUDA allocator reports.

    Attributes:
        allocated: Bytes in use now.
        cached: Bytes reserved but not in use, which `empty_cache` gives back.
        graph_pools: Total and allocated size of each segment kept by CUDA graphs.
    """

    def __init__(self) -> None:
        self.allocated = 0
        self.cached = 0
        self.graph_pools: list[tuple[int, int]] = []
        self._peaks = (0, 0)

    @property
    def reserved(self) -> int:
        return self.allocated + self.cached + sum(total for total, _ in self.graph_pools)

    def use(self, size: int) -> None:
        """Allocate ``size`` for a moment; it stays cached."""
        fresh = max(size - self.cached, 0)
        self._peaks = (
            max(self._peaks[0], self.allocated + size),
            max(self._peaks[1], self.reserved + fresh),
        )
        self.cached += fresh

    def api(self) -> SimpleNamespace:
        def empty_cache() -> None:
            self.cached = 0

        def reset(device: object) -> None:
            self._peaks = (self.allocated, self.reserved)

        segment = {"device": 0, "segment_pool_id": (0, 0), "total_size": 7, "allocated_size": 3}
        return SimpleNamespace(
            empty_cache=empty_cache,
            synchronize=lambda device: None,
            memory_allocated=lambda device: self.allocated,
            memory_reserved=lambda device: self.reserved,
            reset_peak_memory_stats=reset,
            max_memory_allocated=lambda device: self._peaks[0],
            max_memory_reserved=lambda device: self._peaks[1],
            get_device_properties=lambda device: SimpleNamespace(total_memory=1_000),
            memory_snapshot=lambda: [
                segment,
                segment | {"device": 1, "segment_pool_id": (0, 1), "total_size": self.reserved},
                *(
                    segment
                    | {"segment_pool_id": (0, 1), "total_size": total, "allocated_size": used}
                    for total, used in self.graph_pools
                ),
            ],
        )


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    allocator = Allocator()
    monkeypatch.setattr(
        memory, "torch", SimpleNamespace(cuda=allocator.api(), device=torch.device)
    )
    return allocator


@pytest.fixture
def cuda() -> Any:
    return CudaMemory(torch.device("cuda:0"))


def test_cuda_counts_from_the_mark(allocator: Allocator, cuda: CudaMemory) -> None:
    allocator.allocated, allocator.cached = 100, 40
    cuda.mark()
    allocator.allocated += 30  # weights
    peak = cuda.peak(lambda: allocator.use(50))
    assert (peak.peak_bytes, peak.reserved_bytes, peak.null_reasons) == (80, 80, {})


def test_what_preparing_left_in_the_cache_is_not_the_case_s(
    allocator: Allocator, cuda: CudaMemory
) -> None:
    cuda.mark()
    allocator.allocated = 30
    allocator.use(500)  # the gate's float64 copy
    peak = cuda.peak(lambda: allocator.use(50))
    assert (peak.peak_bytes, peak.reserved_bytes) == (80, 80)


def test_a_replayed_graph_works_in_memory_of_its_own(
    allocator: Allocator, cuda: CudaMemory
) -> None:
    allocator.graph_pools = [(64, 4)]  # of a graph made before
    cuda.mark()
    allocator.allocated += 30
    allocator.graph_pools.append((200, 20))
    allocator.allocated += 20  # its output
    peak = cuda.peak(lambda: None)
    assert peak.peak_bytes == 30 + 20 + (200 - 20)


def test_cuda_memory_is_full_beyond_half_of_the_device(
    allocator: Allocator, cuda: CudaMemory
) -> None:
    allocator.allocated = 500
    assert not cuda.full()
    allocator.cached = 1
    assert cuda.full()
