"""The device a worker measures on: its clock, memory, telemetry, energy and health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from paraformer_bench.instrument import precision
from paraformer_bench.instrument.clock import Clock, CpuClock, CudaClock
from paraformer_bench.instrument.energy import Meter, NoMeter, open_meter
from paraformer_bench.instrument.gate import Mismatch
from paraformer_bench.instrument.memory import (
    CpuMemory,
    CudaMemory,
    Memory,
    refuse_the_impossible,
    steady_malloc,
)
from paraformer_bench.instrument.meters import HostLoad, Telemetry, open_telemetry
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.record import Status


@dataclass(frozen=True)
class Device:
    """Everything the worker reads from one device."""

    torch_device: torch.device
    clock: Clock
    memory: Memory
    telemetry: Telemetry
    host: HostLoad
    meter: Meter | NoMeter

    def healthy(self) -> bool:
        """Whether the device still answers; a CUDA context does not survive a bad kernel."""
        try:
            if self.torch_device.type == "cuda":
                torch.cuda.synchronize(self.torch_device)  # raises what its work has left behind
            torch.zeros(1, device=self.torch_device).add_(1).cpu()
        except Exception:
            return False
        return True


@contextmanager
def at_work(name: str) -> Iterator[Device]:
    """Set this process up as every one is that measures, and open its device.

    What is built and called within is so under inference mode.
    """
    if name == "cpu":
        steady_malloc()
        refuse_the_impossible()
    with torch.inference_mode():
        yield open_device(name)


def open_device(name: str) -> Device:
    """Open ``cpu`` or ``cuda:N``, in full float32 precision until a case asks for another."""
    precision.use("float32")
    device = torch.device(name)
    if device.type == "cpu":
        host = HostLoad(needed=torch.get_num_threads())
        telemetry, meter = open_telemetry(None), open_meter(None)
        return Device(device, CpuClock(), CpuMemory(), telemetry, host, meter)
    torch.cuda.set_device(device)
    torch.cuda.init()
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    telemetry, host, meter = open_telemetry(uuid), HostLoad(needed=1), open_meter(uuid)
    return Device(device, CudaClock(device), CudaMemory(device), telemetry, host, meter)


# What PyTorch and the libraries under it say in a plain RuntimeError when memory runs out.
_NO_MEMORY = (
    "can't allocate memory",
    "bad_alloc",
    "Storage size calculation overflowed",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the device or the host."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


def describe(error: Exception) -> tuple[Status, str]:
    """Return the record status and the one-line reason for what preparing or timing raised."""
    first = next(iter(str(error).splitlines()), "")
    if isinstance(error, Unsupported):
        return "skipped", first
    if isinstance(error, Mismatch):
        return "mismatch", first
    if is_out_of_memory(error):
        return "oom", first
    return "error", f"{type(error).__name__}: {first}"
