"""Traces written by hand: every time is a whole nanosecond after the start of a step."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

EPOCH = 1_700_000_000_123_456_789
"""Nanoseconds. As microseconds in a float64, times here are off by up to 125 ns."""

STEP_EVERY = 1_000_000_000

H100 = {
    "id": 0,
    "name": "NVIDIA H100",
    "computeMajor": 9,
    "computeMinor": 0,
    "maxThreadsPerMultiprocessor": 2048,
    "warpSize": 32,
    "numSms": 132,
    "regsPerMultiprocessor": 65536,
    "sharedMemPerMultiprocessor": 233472,
}

# Of the steps that are kept, the last one is of median length.
LENGTHS = (900_000, 100_003, 100_001, 100_002)


class Builder:
    """Writes a trace as Kineto does, with the same events in each step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.events: list[dict[str, Any]] = []
        self.devices: list[dict[str, Any]] = [H100]

    def steps(self, fill: Callable[[int], object], lengths: tuple[int, ...] = LENGTHS) -> Builder:
        """Add steps; ``fill`` adds what is in each, given its number."""
        for number, length in enumerate(lengths):
            self._offset = EPOCH + number * STEP_EVERY
            self._first = 1_000_000 * (number + 1)
            self.add("user_annotation", f"ProfilerStep#{number + 2}", 0, length)
            fill(number)
        return self

    def add(
        self, kind: str, name: str, start: int, end: int, pid: int = 1, tid: int = 1, **args: Any
    ) -> None:
        self.events.append(
            {"ph": "X", "cat": kind, "name": name, "pid": pid, "tid": tid, "args": args}
            | {"ts": _us(self._offset + start), "dur": _us(end - start)}
        )

    def branch(self, number: int, start: int, end: int) -> None:
        self.mark(f"branch/{number}", start, end)

    def mark(self, name: str, start: int, end: int) -> None:
        self.add("user_annotation", name, start, end)

    def call(self, number: int, start: int, end: int, name: str = "cudaLaunchKernel") -> None:
        self.add("cuda_runtime", name, start, end, correlation=self._first + number)

    def kernel(
        self,
        number: int,
        start: int,
        end: int,
        stream: int = 7,
        device: int = 0,
        blocks: float = 1.0,
        **args: Any,
    ) -> None:
        """Add a kernel that the call of the same number launched."""
        kind, name = args.pop("kind", "kernel"), args.pop("name", "gemm")
        shape = {"block": [256, 1, 1], "registers per thread": 32, "shared memory": 0}
        fields = {"device": device, "stream": stream, "blocks per SM": blocks}
        fields |= {"correlation": self._first + number, **shape, **args}
        self.add(kind, name, start, end, pid=device, tid=stream, **fields)

    def memory(self, at: int, size: int, device_type: int = 0) -> None:
        self.events.append(
            {"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "pid": 1, "tid": 1}
            | {"ts": _us(self._offset + at), "s": "t"}
            | {"args": {"Bytes": size, "Device Type": device_type, "Device Id": -1}}
        )

    def write(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        root = {"schemaVersion": 1, "deviceProperties": self.devices, "traceEvents": self.events}
        # The numbers stand in the text as they are, not rounded to a float.
        text = re.sub(r'"<([0-9.-]+)>"', r"\1", json.dumps(root))
        path = self._folder / "cuda0.1.pt.trace.json.gz"
        path.write_bytes(gzip.compress(text.encode()))
        return path


def _us(nanoseconds: int) -> str:
    return f"<{nanoseconds // 1000}.{nanoseconds % 1000:03d}>"
