"""From the events of a trace to the metrics of one step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from paraformer_bench.timeline import intervals
from paraformer_bench.timeline.intervals import Times
from paraformer_bench.timeline.matching import PARTS, TracedWork, match, steps
from paraformer_bench.timeline.timeline import DeviceActivity, Timeline, classify, incomplete
from paraformer_bench.timeline.trace import KERNEL, MEMORY, read_trace

FEWEST_STEPS = 2
"""With fewer, nobody knows whether steps are alike."""

LEAST_MATCHED = 0.99
"""Share of launches and operations that must have each other."""

_REGISTERS_AT_ONCE = 256
"""Registers are given to warps in portions of this many."""

_RESERVED_SHARED_BYTES = 1024
"""Shared memory that CUDA keeps for itself in every block, since compute capability 8.0."""

_MOST_BLOCKS = {(7, 5): 16, (8, 6): 16, (8, 7): 16, (8, 9): 24}
"""Blocks that one multiprocessor holds, by compute capability; elsewhere 32.

Source: CUDA C++ Programming Guide, Technical Specifications per Compute Capability.
"""

_DRAWN = ["kind", "name", "operation", *PARTS, "lane", "correlation"]


class View(NamedTuple):
    """A trace as numbers and as what a picture is drawn from.

    Attributes:
        operations: Of the step that they are of, by start: ``start_seconds`` and ``end_seconds``
            since the step's start, ``name``, ``operation`` (the host's operation it belongs to,
            or empty), ``branch``, ``layer`` and ``place`` (-1: none; see `matching.PARTS`),
            ``lane``, ``kind``, ``launch_seconds`` and ``correlation``, the same for what one
            call launched.
        memory: After each allocation and release within the step, ``seconds`` since its start and
            ``live_bytes`` above what was in use then, of the GPUs together or of the host;
            negative where more was freed than allocated.
    """

    timeline: Timeline
    operations: pd.DataFrame = pd.DataFrame()
    memory: pd.DataFrame = pd.DataFrame()


class _Null(str):
    """Why a metric has no value."""


_NO_THREADS = _Null("the threads that work within an operation do not show in a trace")
_NOTHING = _Null("nothing was allocated in the step, or it was not recorded")
_NOT_LAUNCHED = _Null("the operations are the host's own: nothing is launched")

_ON_CPU = {
    **dict.fromkeys(("concurrency", "overlap_seconds"), _NO_THREADS),
    **dict.fromkeys(("idle_host_seconds", "idle_device_seconds"), _NOT_LAUNCHED),
    **dict.fromkeys(("launch_bound", "queue_seconds", "kernels", "matched"), _NOT_LAUNCHED),
    **dict.fromkeys(("streams", "blocks_per_sm", "waves"), _NOT_LAUNCHED),
}

_Metrics: TypeAlias = dict[str, Any]
"""Fields of a `Timeline` by their names; `_Null` for those without a value."""


def examine(path: Path, on_gpu: bool = False) -> View:
    """Read a trace and reduce it. A broken one is ``incomplete`` with its reason.

    So is a trace of the host alone where it is known that a GPU worked (``on_gpu``).
    """
    trace = read_trace(path)
    if trace.reason:
        return View(incomplete(trace.reason))
    every_step = steps(trace.events)
    work = match(trace.events, every_step)
    reason = _fault(work, len(every_step), trace.malformed)
    if on_gpu and not work.on_gpu:
        reason = "it holds nothing that ran on the GPU"
    if reason:
        return View(incomplete(reason, work.on_gpu, len(every_step)))
    # All numbers are of the step of (lower) median length.
    by_length = (every_step["end"] - every_step["start"]).sort_values(kind="stable").index
    number = by_length[(len(by_length) - 1) // 2]
    name, start, end = every_step.loc[number]
    done = work.operations[work.operations["step"] == number]
    memory = _memory(trace.events, start, end, work.on_gpu)
    metrics = {
        "on_gpu": work.on_gpu,
        "steps": len(every_step),
        "step": name,
        "step_seconds": _seconds(end - start),
        "graph": work.replays,
        **_times(done, work, start, trace.devices),
        "elements": int(done["elements"].sum()) or _Null("the trace holds no shapes"),
        "peak_live_bytes": max(int(memory["live_bytes"].max()), 0) if len(memory) else _NOTHING,
    }
    if work.replays:
        metrics["elements"] = _Null("a graph replay shows no shapes")
    reasons = {name: str(value) for name, value in metrics.items() if isinstance(value, _Null)}
    values = metrics | dict.fromkeys(reasons)
    timeline = Timeline("", **values, null_reasons=reasons)
    return View(replace(timeline, kind=classify(timeline)), _drawn(done, start), memory)


def _fault(work: TracedWork, steps: int, malformed: int) -> str:
    """Return why a trace says nothing; an empty text if it is whole."""
    if malformed:
        return f"{malformed} events have fields that make no sense"
    if steps < FEWEST_STEPS:
        return f"only {steps} steps are left after the first, {FEWEST_STEPS} are needed"
    kinds = work.operations["kind"]
    counted = work.operations[kinds == KERNEL] if work.on_gpu else work.operations
    what = "kernels" if work.on_gpu else "operations"
    counts = np.bincount(counted["step"], minlength=steps)
    if not counts.all():
        return f"{int((counts == 0).sum())} of {steps} steps ran no {what}"
    if len(set(counts)) > 1:
        return f"steps ran between {counts.min()} and {counts.max()} {what}"
    if work.on_gpu and _matched(work) < LEAST_MATCHED:
        return f"only {_matched(work):.1%} of launches and operations could be matched"
    nodes = counted[counted["node"] != 0].groupby("step")["node"].agg(frozenset)
    if nodes.nunique() > 1:
        return "graph replays ran different nodes in different steps"
    return ""


def _matched(work: TracedWork) -> float:
    """Share of launching calls with operations, or of operations with calls if that is smaller.

    A profiler can lose either.
    """
    calls, done = work.calls["correlation"], work.operations["correlation"]
    pairs = (calls, done), (done, calls)
    return min(float(own.isin(other).mean()) if len(own) else 1.0 for own, other in pairs)


def _times(
    done: pd.DataFrame, work: TracedWork, start: int, devices: Mapping[int, Mapping[str, Any]]
) -> _Metrics:
    starts, ends = _bounds(done)
    # A device whose clock is off may seem to run before the step begins.
    begin = min(start, int(starts.min()))
    span = int(ends.max()) - begin
    busy, union = _busy_and_union(done)
    chain = intervals.longest_chain(starts, ends)
    in_chain = int((ends - starts)[chain].sum())
    metrics: _Metrics = {
        "operations": len(done),
        "span_seconds": _seconds(span),
        "busy_seconds": _seconds(busy),
        "union_seconds": _seconds(union),
        "chain_operations": len(chain),
        "chain_seconds": _seconds(in_chain),
        "chain_share": in_chain / busy if busy else 1.0,
        "idle_seconds": _seconds(span - union),
        **_branches(done, work),
    }
    if not work.on_gpu:
        return metrics | _ON_CPU
    depth = intervals.time_at_depth(starts, ends)
    depth[0] += int(starts.min()) - begin
    for_host = _waiting_for_host(done, begin)
    kernels = done[done["kind"] == KERNEL]
    no_lanes = _Null("the lanes of a graph replay are no streams")
    by_device = {n: done[done["device"] == n] for n in done["device"].unique().tolist()}
    return metrics | {
        "kernels": len(kernels),
        "matched": _matched(work),
        "streams": no_lanes if work.replays else done["lane"].nunique(),
        "concurrency": busy / union if union else 1.0,
        "overlap_seconds": [_seconds(time) for time in depth],
        "idle_host_seconds": _seconds(for_host),
        "idle_device_seconds": _seconds(depth[0] - for_host),
        "launch_bound": for_host / span if span else 0.0,
        "queue_seconds": _seconds(_queued(done)),
        "blocks_per_sm": _mean(kernels, kernels["blocks"].to_numpy()),
        "waves": _mean(kernels, _waves(kernels, devices)),
        "devices": {
            number: DeviceActivity(len(own), *map(_seconds, _busy_and_union(own)))
            for number, own in by_device.items()
        },
    }


def _branches(done: pd.DataFrame, work: TracedWork) -> _Metrics:
    """How long different branches ran at once; each branch counts once at any time."""
    numbers = sorted(set(done["branch"]) - {-1})
    overlap: float | _Null
    if not work.on_gpu:
        overlap = _NO_THREADS
    elif work.replays:
        overlap = _Null("a graph replay calls no branches")
    elif len(numbers) < 2:
        overlap = _Null(f"{len(numbers)} branches are called one by one")
    else:
        times = [_bounds(done[done["branch"] == number]) for number in numbers]
        merged = [intervals.union(starts, ends) for starts, ends in times]
        starts, ends = (np.concatenate(side) for side in zip(*merged, strict=True))
        overlap = _seconds(sum(intervals.time_at_depth(starts, ends)[2:]))
    return {"branches": len(numbers), "branch_overlap_seconds": overlap}


def _waiting_for_host(done: pd.DataFrame, begin: int) -> int:
    """Nanoseconds without any operation before the call that launched the next one returned.

    A call may return when what it launched is already running, as that of a graph does: then the
    operation's start counts, and for what a call launched later the start of its first one.
    """
    first = done.groupby("correlation")["start"].transform("min")
    launched = np.minimum(done["launch"].to_numpy(), first.to_numpy())
    starts, ends = intervals.union(*_bounds(done))
    idle_from = np.append(begin, ends[:-1])
    # Of several operations that end the same gap, the one that was launched first could have.
    by_start = pd.Series(launched, index=done["start"].to_numpy()).groupby(level=0).min()
    until = np.minimum(by_start.reindex(starts).to_numpy(), starts)
    return int(np.maximum(until - idle_from, 0).sum())


def _queued(done: pd.DataFrame) -> int:
    """Median nanoseconds from a launch's return to the start of the first thing it launched."""
    first = done.sort_values("start").drop_duplicates("correlation")
    waits = np.sort(np.maximum(first["start"].to_numpy() - first["launch"].to_numpy(), 0))
    return int(waits[(len(waits) - 1) // 2])


def _mean(kernels: pd.DataFrame, values: npt.NDArray[np.float64]) -> float | _Null:
    """Mean over the kernels' time; none if some kernel has no value."""
    lengths = (kernels["end"] - kernels["start"]).to_numpy()
    every = np.isfinite(values).all() and lengths.sum()
    mean = float(np.average(values, weights=lengths)) if every else math.nan
    return mean if math.isfinite(mean) else _Null("the trace does not say it of every kernel")


def _busy_and_union(done: pd.DataFrame) -> tuple[int, int]:
    """Nanoseconds of all operations together, and those in which any of them ran."""
    starts, ends = _bounds(done)
    return int((ends - starts).sum()), intervals.length(starts, ends)


def _bounds(done: pd.DataFrame) -> tuple[Times, Times]:
    return done["start"].to_numpy(), done["end"].to_numpy()


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def _memory(events: pd.DataFrame, start: int, end: int, on_gpu: bool) -> pd.DataFrame:
    """`View.memory` of a step, from the allocator's events."""
    inside = (events["start"] >= start) & (events["start"] < end)
    changes = events[(events["kind"] == MEMORY) & inside & (events["on_gpu"] == int(on_gpu))]
    seconds = (changes["start"].to_numpy() - start) / 1e9
    return pd.DataFrame({"seconds": seconds, "live_bytes": changes["bytes"].cumsum().to_numpy()})


def _drawn(done: pd.DataFrame, start: int) -> pd.DataFrame:
    drawn = done[_DRAWN].copy()
    for column in ("start", "end", "launch"):
        drawn[f"{column}_seconds"] = (done[column] - start) / 1e9
    return drawn.sort_values("start_seconds", kind="stable", ignore_index=True)


def resident_blocks(
    threads: int, registers: int, shared: int, device: Mapping[str, Any]
) -> int | None:
    """Return how many blocks of a kernel one multiprocessor can hold at once.

    They have so many ``threads``, registers per thread and bytes of shared memory; ``device`` are
    Kineto's properties of the GPU. None where these do not say enough.
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


def _waves(
    kernels: pd.DataFrame, devices: Mapping[int, Mapping[str, Any]]
) -> npt.NDArray[np.float64]:
    """Return the waves of each kernel: its blocks per multiprocessor over the resident ones.

    At one the GPU is full; below it has room for more branches, above they queue.
    """

    @cache
    def resident(device: int, threads: int, registers: int, shared: int) -> int | None:
        return resident_blocks(threads, registers, shared, devices.get(device, {}))

    shapes = kernels[["device", "threads", "registers", "shared"]].itertuples(index=False)
    per_kernel = np.array([resident(*shape) for shape in shapes], dtype=np.float64)
    return kernels["blocks"].to_numpy() / per_kernel
