"""From the events of a trace to the metrics of one step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from paraformer_bench.timeline import intervals
from paraformer_bench.timeline.event import KERNEL
from paraformer_bench.timeline.gates import fault, matched
from paraformer_bench.timeline.intervals import Times
from paraformer_bench.timeline.matching import PARTS, Work, match
from paraformer_bench.timeline.memory import live_bytes
from paraformer_bench.timeline.steps import Step, middle, steps
from paraformer_bench.timeline.timeline import DeviceTime, Timeline, incomplete
from paraformer_bench.timeline.trace import OK, Trace, read_trace
from paraformer_bench.timeline.waves import waves
from paraformer_bench.timeline.words import classify

_ON_CPU = "the operations are the host's own: nothing is launched"
_NO_THREADS = "the threads that work within an operation do not show in a trace"
_NO_LANES = "the lanes of a graph replay are no streams"

_DRAWN = ["kind", "name", "operation", *PARTS, "lane", "correlation"]


class View(NamedTuple):
    """A trace as numbers and as what a picture is drawn from.

    Attributes:
        timeline: The metrics.
        operations: Of the step that they are of, by start: ``start_seconds`` and ``end_seconds``
            since the step's start, ``name``, ``operation`` (the host's operation it belongs to,
            or empty), ``branch``, ``layer`` and ``place`` (-1: none; see `matching.PARTS`),
            ``lane``, ``kind``, ``launch_seconds`` and ``correlation``, the same for what one
            call launched.
        memory: See `memory.live_bytes`.
    """

    timeline: Timeline
    operations: pd.DataFrame
    memory: pd.DataFrame


def examine(path: Path, on_gpu: bool = False) -> View:
    """Read a trace and reduce it. A broken one is ``incomplete`` with its reason.

    Args:
        path: Of the trace.
        on_gpu: It is known that a GPU worked: a trace of the host alone is incomplete.
    """
    return view(read_trace(path), on_gpu)


def view(trace: Trace, on_gpu: bool = False) -> View:
    """Reduce a trace to the metrics of its step of median length; see `examine`."""
    if trace.status != OK:
        return _nothing(incomplete(trace.reason))
    found = steps(trace.events)
    work = match(trace.events, found)
    reason = fault(work, found, trace.malformed)
    if on_gpu and not work.on_gpu:
        reason = "it holds nothing that ran on the GPU"
    if reason:
        return _nothing(incomplete(reason, on_gpu=work.on_gpu, steps=len(found)))
    step = middle(found)
    done = work.of(found.index(step))
    memory = live_bytes(trace.events, step, work.on_gpu)
    known: dict[str, Any] = {
        "on_gpu": work.on_gpu,
        "steps": len(found),
        "step": step.name,
        "step_seconds": _seconds(step.end - step.start),
        "graph": work.replays,
    }
    why: dict[str, str] = {}
    known |= _times(done, step) | _branches(done, work, why)
    known |= _on_gpu(done, work, step, trace, why) if work.on_gpu else _on_cpu(why)
    known["elements"] = _elements(done, work, why)
    known["peak_live_bytes"] = _peak(memory, why)
    timeline = Timeline(classify(known), **known, null_reasons=why)
    return View(timeline, _drawn(done, step), memory)


def _times(done: pd.DataFrame, step: Step) -> dict[str, Any]:
    starts, ends = _bounds(done)
    busy, union = int((ends - starts).sum()), intervals.length(starts, ends)
    chain = intervals.longest_chain(starts, ends)
    in_chain = int((ends - starts)[chain].sum())
    span = int(ends.max()) - _begin(done, step)
    return {
        "operations": len(done),
        "span_seconds": _seconds(span),
        "busy_seconds": _seconds(busy),
        "union_seconds": _seconds(union),
        "chain_operations": len(chain),
        "chain_seconds": _seconds(in_chain),
        "chain_share": in_chain / busy if busy else 1.0,
        "idle_seconds": _seconds(span - union),
    }


def _branches(done: pd.DataFrame, work: Work, why: dict[str, str]) -> dict[str, Any]:
    """How long different branches ran at once; each branch counts once at any time."""
    numbers = sorted(set(done["branch"]) - {-1})
    known: dict[str, Any] = {"branches": len(numbers), "branch_overlap_seconds": None}
    if not work.on_gpu:
        why["branch_overlap_seconds"] = _NO_THREADS
    elif work.replays:
        why["branch_overlap_seconds"] = "a graph replay calls no branches"
    elif len(numbers) < 2:
        why["branch_overlap_seconds"] = f"{len(numbers)} branches are called one by one"
    else:
        times = [_bounds(done[done["branch"] == number]) for number in numbers]
        merged = [intervals.union(starts, ends) for starts, ends in times]
        starts, ends = (np.concatenate(side) for side in zip(*merged, strict=True))
        known["branch_overlap_seconds"] = _seconds(sum(intervals.time_at_depth(starts, ends)[2:]))
    return known


def _on_gpu(
    done: pd.DataFrame, work: Work, step: Step, trace: Trace, why: dict[str, str]
) -> dict[str, Any]:
    starts, ends = _bounds(done)
    depth = intervals.time_at_depth(starts, ends)
    depth[0] += int(starts.min()) - _begin(done, step)
    union = intervals.length(starts, ends)
    for_host = _waiting_for_host(done, step)
    idle, span = depth[0], int(ends.max()) - _begin(done, step)
    kernels = done[done["kind"] == KERNEL]
    if work.replays:
        why["streams"] = _NO_LANES
    return {
        "kernels": len(kernels),
        "matched": matched(work),
        "streams": None if work.replays else done["lane"].nunique(),
        "concurrency": int((ends - starts).sum()) / union if union else 1.0,
        "overlap_seconds": [_seconds(one) for one in depth],
        "idle_host_seconds": _seconds(for_host),
        "idle_device_seconds": _seconds(idle - for_host),
        "launch_bound": for_host / span if span else 0.0,
        "queue_seconds": _seconds(_queued(done)),
        "blocks_per_sm": _mean(kernels, kernels["blocks"].to_numpy(), "blocks_per_sm", why),
        "waves": _mean(kernels, waves(kernels, trace.devices), "waves", why),
        "devices": {int(n): _device(done[done["device"] == n]) for n in done["device"].unique()},
    }


def _on_cpu(why: dict[str, str]) -> dict[str, Any]:
    threads = ("concurrency", "overlap_seconds")
    launches = ("idle_host_seconds", "idle_device_seconds", "launch_bound", "queue_seconds")
    device = ("kernels", "matched", "streams", "blocks_per_sm", "waves")
    why |= dict.fromkeys(threads, _NO_THREADS) | dict.fromkeys((*launches, *device), _ON_CPU)
    return {}


def _waiting_for_host(done: pd.DataFrame, step: Step) -> int:
    """Nanoseconds without any operation before the call that launched the next one returned.

    A call may return when what it launched is already running, as that of a graph does: then the
    operation's start counts, and for what a call launched later the start of its first one.
    """
    first = done.groupby("correlation")["start"].transform("min")
    launched = np.minimum(done["launch"].to_numpy(), first.to_numpy())
    starts, ends = intervals.union(*_bounds(done))
    idle_from = np.append(_begin(done, step), ends[:-1])
    # Of several operations that end the same gap, the one that was launched first could have.
    by_start = pd.Series(launched, index=done["start"].to_numpy()).groupby(level=0).min()
    until = np.minimum(by_start.reindex(starts).to_numpy(), starts)
    return int(np.maximum(until - idle_from, 0).sum())


def _queued(done: pd.DataFrame) -> int:
    """Median nanoseconds from a launch's return to the start of the first thing it launched."""
    first = done.sort_values("start").drop_duplicates("correlation")
    waits = np.sort(np.maximum(first["start"].to_numpy() - first["launch"].to_numpy(), 0))
    return int(waits[(len(waits) - 1) // 2])


def _mean(
    kernels: pd.DataFrame, values: npt.NDArray[np.float64], name: str, why: dict[str, str]
) -> float | None:
    """Mean over the kernels' time; None if some kernel has no value."""
    lengths = (kernels["end"] - kernels["start"]).to_numpy()
    if np.isfinite(values).all() and lengths.sum():
        mean = float(np.average(values, weights=lengths))
        if math.isfinite(mean):
            return mean
    why[name] = "the trace does not say it of every kernel"
    return None


def _elements(done: pd.DataFrame, work: Work, why: dict[str, str]) -> int | None:
    total = int(done["elements"].sum())
    if work.replays:
        why["elements"] = "a graph replay shows no shapes"
    elif not total:
        why["elements"] = "the trace holds no shapes"
    else:
        return total
    return None


def _peak(memory: pd.DataFrame, why: dict[str, str]) -> int | None:
    if memory.empty:
        why["peak_live_bytes"] = "nothing was allocated in the step, or it was not recorded"
        return None
    return max(int(memory["live_bytes"].max()), 0)


def _device(done: pd.DataFrame) -> DeviceTime:
    starts, ends = _bounds(done)
    busy = int((ends - starts).sum())
    return DeviceTime(len(done), _seconds(busy), _seconds(intervals.length(starts, ends)))


def _bounds(done: pd.DataFrame) -> tuple[Times, Times]:
    return done["start"].to_numpy(), done["end"].to_numpy()


def _begin(done: pd.DataFrame, step: Step) -> int:
    """Return where the span begins; a device whose clock is off may seem to run before it."""
    return min(step.start, int(done["start"].min()))


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def _drawn(done: pd.DataFrame, step: Step) -> pd.DataFrame:
    drawn = done[_DRAWN].copy()
    for column, source in (("start", "start"), ("end", "end"), ("launch", "launch")):
        drawn[f"{column}_seconds"] = (done[source] - step.start) / 1e9
    return drawn.sort_values("start_seconds", kind="stable", ignore_index=True)


def _nothing(timeline: Timeline) -> View:
    columns = [*_DRAWN, "start_seconds", "end_seconds", "launch_seconds"]
    memory = pd.DataFrame(columns=["seconds", "live_bytes"])
    return View(timeline, pd.DataFrame(columns=columns), memory)
