"""How full kernels fill a GPU: blocks per multiprocessor, and waves of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

_REGISTERS_AT_ONCE = 256
"""Registers are given to warps in portions of this many."""

_RESERVED_SHARED_BYTES = 1024
"""Shared memory that CUDA keeps for itself in every block, since compute capability 8.0."""

_MOST_BLOCKS = {(7, 5): 16, (8, 6): 16, (8, 7): 16, (8, 9): 24}
"""Blocks that one multiprocessor holds, by compute capability; elsewhere 32.

Source: CUDA C++ Programming Guide, Technical Specifications per Compute Capability.
"""


def resident_blocks(
    threads: int, registers: int, shared: int, device: Mapping[str, Any]
) -> int | None:
    """Return how many blocks of a kernel one multiprocessor can hold at once.

    Args:
        threads: In a block.
        registers: Per thread.
        shared: Bytes of shared memory per block.
        device: Kineto's properties of the GPU.

    Returns:
        None where the trace does not say enough.
    """
    try:
        warp = int(device["warpSize"])
        most_threads = int(device["maxThreadsPerMultiprocessor"])
        most_registers = int(device["regsPerMultiprocessor"])
        most_shared = int(device["sharedMemPerMultiprocessor"])
        capability = (int(device["computeMajor"]), int(device["computeMinor"]))
    except (KeyError, TypeError, ValueError):
        return None
    if threads < 1 or warp < 1:
        return None
    warps = math.ceil(threads / warp)
    limits = [_MOST_BLOCKS.get(capability, 32), most_threads // (warps * warp)]
    if registers > 0:
        portions = math.ceil(registers * warp / _REGISTERS_AT_ONCE)
        limits.append(most_registers // (portions * _REGISTERS_AT_ONCE * warps))
    reserved = _RESERVED_SHARED_BYTES if capability >= (8, 0) else 0
    if shared + reserved > 0:
        limits.append(most_shared // (shared + reserved))
    return max(min(limits), 1)


def waves(
    kernels: pd.DataFrame, devices: Mapping[int, Mapping[str, Any]]
) -> npt.NDArray[np.float64]:
    """Return the waves of each kernel: its blocks per multiprocessor over the resident ones.

    At one the GPU is full; below it has room for more branches, above they queue.
    """
    shape = ["device", "threads", "registers", "shared"]
    resident = {
        key: resident_blocks(key[1], key[2], key[3], devices.get(key[0], {}))
        for key in kernels[shape].drop_duplicates().itertuples(index=False, name=None)
    }
    held = [resident[key] for key in kernels[shape].itertuples(index=False, name=None)]
    return kernels["blocks"].to_numpy() / np.array(held, dtype=np.float64)
