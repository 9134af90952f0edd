"""A run on a GPU that nobody has measured: records, and traces in which the truth is known.

Every net does the same work, twelve kernels a block. What differs is who waits for whom.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paraformer_bench.study.case import Case
from tests.traces import Builder

PART = 12
"""Kernels of a block."""

SHORT, LONG = 5_000, 8_000
"""Nanoseconds: of a kernel of one block, and of one that does the work of all."""

LAUNCH = 4_000
"""Nanoseconds from one launch to the next."""

NAMES = (
    "vectorized_layer_norm_kernel",
    "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32",
    "flash_fwd_kernel",
    "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32",
    "vectorized_elementwise_kernel<4, CUDAFunctor_add<float>>",
    "vectorized_layer_norm_kernel",
    "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x64x32",
    "vectorized_elementwise_kernel<4, GeluCUDAKernelImpl>",
    "sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x64x32",
    "vectorized_elementwise_kernel<4, CUDAFunctor_add<float>>",
    "reduce_kernel<512, 1, ReduceOp<float>>",
    "Memcpy DtoD (Device -> Device)",
)


def _kernel(builder: Builder, number: int, start: int, length: int, **fields: object) -> int:
    """Add a kernel that starts when it is launched and its stream is free; return its end."""
    launched = LAUNCH * (number + 1)
    builder.call(number, launched - 3_000, launched)
    start = max(start, launched + 1_000)
    name = NAMES[number % PART]
    builder.kernel(number, start, start + length, name=name, **fields)
    return start + length


def serial(builder: Builder, depth: int) -> None:
    """Layer after layer."""
    free = 0
    for layer in range(depth):
        first = LAUNCH * (layer * PART + 1) - 3_500
        builder.mark(f"layer/{layer}", first, first + LAUNCH * PART - 100)
        for part in range(PART):
            free = _kernel(builder, layer * PART + part, free, SHORT)
            builder.memory(free, 1 << 20 if part % 2 else -(1 << 20), device_type=1)


def loop(builder: Builder, depth: int) -> None:
    """Branch after branch."""
    _branches(builder, depth, lambda branch: 7)


def streams(builder: Builder, depth: int) -> None:
    """Branches on streams of their own."""
    _branches(builder, depth, lambda branch: 20 + branch)


def _branches(builder: Builder, depth: int, stream_of: Callable[[int], int]) -> None:
    free: dict[int, int] = {}
    whole = LAUNCH * PART * depth
    builder.mark("branches/0", 100, whole + 2_000)
    for branch in range(depth):
        first = LAUNCH * (branch * PART + 1) - 3_500
        builder.branch(branch, first, first + LAUNCH * PART - 100)
        stream = stream_of(branch)
        for part in range(PART):
            number = branch * PART + part
            length = SHORT if stream == 7 else 12 * SHORT
            free[stream] = _kernel(builder, number, free.get(stream, 0), length, stream=stream)


def stacked(builder: Builder, depth: int) -> None:
    """All branches in each kernel."""
    builder.mark("branches/0", 100, LAUNCH * PART + 2_000)
    free = 0
    for part in range(PART):
        length = SHORT if depth == 1 else LONG
        free = _kernel(builder, part, free, length, blocks=0.25 * depth)


def replay(builder: Builder, depth: int) -> None:
    """All branches in each kernel, all kernels in one launch."""
    builder.call(0, 1_000, 9_000, name="cudaGraphLaunch")
    for part in range(PART):
        start = 8_000 + part * (LONG + 200)
        builder.kernel(
            0,
            start,
            start + (SHORT if depth == 1 else LONG),
            blocks=0.25 * depth,
            name=NAMES[part],
            **{"graph node id": part + 1},
        )


WAYS: dict[tuple[str, str, str], Callable[[Builder, int], None]] = {
    ("serial", "loop", "eager"): serial,
    ("paraformer", "loop", "eager"): loop,
    ("paraformer", "streams", "eager"): streams,
    ("paraformer", "stacked", "eager"): stacked,
    ("paraformer", "stacked", "graph"): replay,
}


def write_trace(folder: Path, case: Case) -> Path:
    """Write the trace of a case into a run folder."""
    way = WAYS[case.model, case.execution, case.runtime]
    builder = Builder(folder / "traces" / case.id)
    steps = (2_000_000, 1_500_001, 1_500_003, 1_500_002)
    return builder.steps(lambda step: way(builder, case.depth), steps).write()
