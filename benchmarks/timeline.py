"""How long does it take to read and reduce a trace, and how much memory?

Run as ``python benchmarks/timeline.py``; it takes about half a minute and needs 1 GB. It writes
traces of a GPU as Kineto does, with the fields that timelines do not use: one of 100,000 events,
which is read and reduced five times, and one of about 200 MB unpacked, which is read once in a
process of its own whose peak memory is printed. Targets: 3 s and 2 GB.
"""

from __future__ import annotations

import gzip
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paraformer_bench.timeline.metrics import examine

EVENTS = 100_000
MOST_SECONDS = 3.0
BIG_BYTES, MOST_BYTES = 200_000_000, 2_000_000_000
STEPS = 5

OPERATION = """{{"ph": "X", "cat": "cpu_op", "name": "aten::addmm", "pid": 9, "tid": 9,
 "ts": {ts}.101, "dur": 8.000, "args": {{"External id": {n}, "Record function id": 0,
 "Concrete Inputs": ["", "", "", "1", "1"], "Input type": ["float", "float", "float", "", ""],
 "Input Strides": [[1], [192, 1], [1, 192], [], []],
 "Input Dims": [[192], [197, 192], [192, 192], [], []], "Ev Idx": {n}}}}}"""

CALL = """{{"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9,
 "ts": {ts}.503, "dur": 5.000,
 "args": {{"External id": {n}, "cbid": 211, "correlation": {n}}}}}"""

KERNEL = """{{"ph": "X", "cat": "kernel",
 "name": "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64",
 "pid": 0, "tid": {stream}, "ts": {ts}.907, "dur": 9.250, "args": {{"External id": {n},
 "queued": 0, "device": 0, "context": 1, "stream": {stream}, "correlation": {n},
 "registers per thread": 90, "shared memory": 49152, "blocks per SM": 0.363636,
 "warps per SM": 1.454545, "grid": [48, 1, 1], "block": [128, 1, 1],
 "est. achieved occupancy %": 2, "graph id": 0, "graph node id": 0}}}}"""

FLOW = """{{"ph": "{ph}", "id": {n}, "pid": 9, "tid": 9, "ts": {ts}.503, "cat": "ac2g",
 "name": "ac2g", "bp": "e"}}"""

STEP = """{{"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#{n}", "pid": 9, "tid": 9,
 "ts": {ts}.000, "dur": {length}.000, "args": {{}}}}"""

# Everything that one launch leaves in a trace.
LAUNCH = (OPERATION, CALL, KERNEL, FLOW, FLOW)


def write(path: Path, events: int) -> int:
    """Write a trace of about so many events; return its size unpacked."""
    launches = events // len(LAUNCH) // STEPS
    size, at, number = 0, 1_700_000_000_000_000, 0
    with gzip.open(path, "wt", compresslevel=1, encoding="ascii") as file:
        size += file.write('{"schemaVersion": 1, "deviceProperties": [], "traceEvents": [\n')
        for step in range(STEPS):
            size += file.write(STEP.format(n=step, ts=at, length=launches * 10 + 50))
            for _ in range(launches):
                number += 1
                at += 10
                stream = 7 + number % 3
                texts = [
                    one.format(n=number, ts=at, stream=stream, ph="sf"[place % 2])
                    for place, one in enumerate(LAUNCH)
                ]
                size += file.write(",\n" + ",\n".join(texts))
            at += 100
            size += file.write(",\n" if step + 1 < STEPS else "]}")
    return size


def read(path: Path) -> None:
    """Read and reduce a trace; print the peak memory of this process."""
    timeline = examine(path).timeline
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(peak, timeline.kind, timeline.kernels)


def main() -> int:
    if sys.argv[1:]:
        read(Path(sys.argv[1]))
        return 0
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.json.gz"
        size = write(path, EVENTS)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            timeline = examine(path).timeline
            seconds.append(time.perf_counter() - start)
        print(f"{EVENTS:,} events, {size / 1e6:.0f} MB unpacked: {timeline.kind},", end=" ")
        print(f"{timeline.kernels:,} kernels per step")
        print("read and reduced in", ", ".join(f"{one:.2f}" for one in seconds), "s", end=" ")
        print(f"(target: below {MOST_SECONDS:g} s)")
        count = round(EVENTS * BIG_BYTES / size)
        size = write(path, count)
        start = time.perf_counter()
        command = [sys.executable, __file__, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        took = time.perf_counter() - start
        peak, *said = done.stdout.split()
        print(f"{count:,} events, {size / 1e6:.0f} MB unpacked: {' '.join(said)} kernels per step")
        print(f"peak memory {int(peak) / 1e6:,.0f} MB in {took:.1f} s", end=" ")
        print(f"(target: below {MOST_BYTES / 1e6:,.0f} MB)")
    return int(max(seconds) >= MOST_SECONDS or int(peak) >= MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
