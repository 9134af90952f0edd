"""What is tracked of the nets. All numbers are those of the sweep: nothing is timed here.

There are fewer on the GPU, as asv starts a process for each even where there is none.

asv takes smaller for better, so there is time per image instead of throughput, and the inverse of
"constant up to". A ``version`` is written out, so that an edit does not orphan the history: change
it when the numbers mean something else.
"""

from __future__ import annotations

from typing import Any

from . import runs
from .runs import BATCH, CPU, DEPTHS, GPU, NAMES, SHALLOW, Cache, OnCpu, OnGpu, Value, grid

_CURVE = [name for name in NAMES if name != "depth"]


class _Inference:
    version = "2"
    param_names = NAMES

    def track_latency(self, cache: Cache, *case: Any) -> Value:
        return runs.samples(cache, "wall", "inference", case)

    track_latency.unit = "seconds"
    track_latency.pretty_name = "Wall time of one inference call"

    def track_peak_memory(self, cache: Cache, *case: Any) -> Value:
        return runs.samples(cache, "peak_bytes", "inference", case)

    track_peak_memory.unit = "bytes"
    track_peak_memory.pretty_name = "Peak memory of one inference call"


class CpuInference(_Inference, OnCpu):
    params = grid(CPU, ["eager"], DEPTHS)


class GpuInference(_Inference, OnGpu):
    params = grid(GPU, ["graph"], DEPTHS[-1:])

    def track_device_time(self, cache: Cache, *case: Any) -> Value:
        return runs.samples(cache, "device", "inference", case)

    track_device_time.unit = "seconds"
    track_device_time.pretty_name = "Device time of one inference call"


class _Batch:
    version = "2"
    param_names = NAMES

    def track_time_per_image(self, cache: Cache, *case: Any) -> Value:
        return runs.samples(cache, "wall", "inference", case, share=BATCH)

    track_time_per_image.unit = "seconds"
    track_time_per_image.pretty_name = "Wall time per image of a batch"


class CpuBatch(_Batch, OnCpu):
    params = grid(CPU, ["eager"], [SHALLOW], BATCH)


class GpuBatch(_Batch, OnGpu):
    params = grid(GPU, ["graph"], [SHALLOW], BATCH)


class _Training:
    version = "2"
    param_names = NAMES

    def track_step(self, cache: Cache, *case: Any) -> Value:
        return runs.samples(cache, "wall", "train", case)

    track_step.unit = "seconds"
    track_step.pretty_name = "Wall time of one training step"

    def track_peak_memory(self, cache: Cache, *case: Any) -> Value:
        return runs.samples(cache, "peak_bytes", "train", case)

    track_peak_memory.unit = "bytes"
    track_peak_memory.pretty_name = "Peak memory of one training step"


class CpuTraining(_Training, OnCpu):
    params = grid(CPU, ["eager"], [SHALLOW])


class GpuTraining(_Training, OnGpu):
    params = grid(GPU, ["graph"], [SHALLOW])


class _Curve:
    version = "2"
    param_names = _CURVE

    def track_exponent(self, cache: Cache, *curve: Any) -> Value:
        return runs.exponent(cache, curve)

    track_exponent.unit = "exponent"
    track_exponent.pretty_name = "Exponent of inference time over depth (0 constant, 1 linear)"

    def track_inverse_of_constant_up_to(self, cache: Cache, *curve: Any) -> Value:
        return runs.inverse_of_constant_up_to(cache, curve)

    track_inverse_of_constant_up_to.unit = "1/depth"
    track_inverse_of_constant_up_to.pretty_name = "1 / deepest depth with constant inference time"


class CpuCurve(_Curve, OnCpu):
    params = grid(CPU, ["eager"], None)


class GpuCurve(_Curve, OnGpu):
    params = grid(GPU, ["graph"], None)


class Counts(OnCpu):
    """Exact, and the same on every device."""

    version = "1"
    param_names = NAMES
    params = grid(CPU, ["eager"], DEPTHS[-1:])

    def track_parameter_bytes(self, cache: Cache, *case: Any) -> Value:
        return runs.exact(cache, "parameter_bytes", "inference", case)

    track_parameter_bytes.unit = "bytes"
    track_parameter_bytes.pretty_name = "Size of all parameters"

    def track_flops(self, cache: Cache, *case: Any) -> Value:
        return runs.exact(cache, "flops", "inference", case)

    track_flops.unit = "FLOP"
    track_flops.pretty_name = "Floating-point operations of one inference call"

    def track_operations(self, cache: Cache, *case: Any) -> Value:
        return runs.exact(cache, "operations", "inference", case)

    track_operations.unit = "operations"
    track_operations.pretty_name = "Operations dispatched by one inference call"


class _Machine:
    """A net that never changes: when its time moves, the machine did, not the code."""

    version = "1"

    def track_sentinel(self, cache: Cache) -> Value:
        return runs.sentinel(cache)

    track_sentinel.unit = "seconds"
    track_sentinel.pretty_name = "Sentinel: moves with the machine, not with the code"


class CpuMachine(_Machine, OnCpu):
    pass


class GpuMachine(_Machine, OnGpu):
    pass
