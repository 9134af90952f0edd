"""The timeline of a few calls: `torch.profiler` around them, branches annotated, to one file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from paraformer_bench.executions._branches import outermost
from paraformer_bench.instrument.clock import Clock
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.timelines import ENDING, PARTIAL, Profile

WARM_UP_STEPS = 2
"""Calls under the profiler before any is kept."""

LEAST_STEPS, MOST_STEPS = 5, 8
"""Calls kept. Readers drop the first, which still pays for the profiler's start."""

MOST_TRACE_BYTES = 10_000_000
"""A packed trace beyond this is thrown away: unpacked it is about 20 times larger."""


def annotate(model: nn.Module) -> None:
    """Mark what the host's time is spent for, by hooks on the modules.

    ``branches/<k>`` is the k-th place of the net with branches, from the fork to the join, and
    ``branch/<i>`` the call of branch i in it; ``layer/<i>`` is the i-th part of a trunk whose
    parts run one after the other.

    An execution that runs all branches as one calls none of them, and has no such marks; the
    replay of a CUDA graph, in which the host calls nothing, has none at all. What a compiler reads
    is left as it is. Branches within a branch are part of it.
    """
    for number, place in enumerate(outermost(model)):
        _mark(place, f"branches/{number}")
        for index, branch in enumerate(place.branches):
            _mark(branch, f"branch/{index}")
    trunk = getattr(model, "trunk", model)
    if isinstance(trunk, nn.Sequential):
        for index, layer in enumerate(trunk):
            _mark(layer, f"layer/{index}")


def _mark(module: nn.Module, name: str) -> None:
    open_marks: list[record_function] = []

    def begin(*_: object) -> None:
        if torch.compiler.is_compiling():
            return
        mark = record_function(name)
        mark.__enter__()
        open_marks.append(mark)

    def end(*_: object) -> None:
        if not torch.compiler.is_compiling() and open_marks:
            open_marks.pop().__exit__(None, None, None)

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end, always_call=True)


def wake(device: torch.device) -> None:
    """Start the profiler once, so that no case is charged for loading it.

    On a GPU it must also be there before a CUDA graph is made, or the replay shows as one piece.
    """
    with profile(activities=_activities(device)):
        torch.zeros(8, device=device).add_(1)


def capture(
    call: Callable[[], object],
    clock: Clock,
    device: torch.device,
    folder: Path,
    seconds: float,
) -> Profile:
    """Time a few calls without the profiler, then take the timeline of as many.

    Every step of the trace (``ProfilerStep#N``) is one call, synchronised before and after; there
    are as many as fit into ``seconds``, within the bounds on their number. The trace is
    ``<device>.<nanoseconds>.pt.trace.json.gz`` in ``folder``; what is returned names it relative
    to the parent of that.

    Raises:
        Unsupported: The trace is too large to be kept.
    """
    plain = [clock.wall(call) for _ in range(LEAST_STEPS)]
    steps = min(max(int(seconds / max(median(plain), 1e-9)), LEAST_STEPS), MOST_STEPS)
    folder.mkdir(parents=True, exist_ok=True)
    # The name is of letters, digits, `.`, `_` and `-` alone: a `]` would break TensorBoard's
    # trace view. The digits tell traces of one case apart.
    path = folder / f"{str(device).replace(':', '')}.{time.time_ns()}{ENDING}"
    partial = folder / PARTIAL  # no reader takes it for a trace
    profiled: list[float] = []
    try:
        with profile(
            activities=_activities(device),
            schedule=schedule(wait=0, warmup=WARM_UP_STEPS, active=steps, repeat=1),
            on_trace_ready=lambda profiler: profiler.export_chrome_trace(str(partial)),
            record_shapes=True,
            profile_memory=True,
        ) as profiler:
            for _ in range(WARM_UP_STEPS + steps):
                profiled.append(clock.wall(call))
                profiler.step()
        size = partial.stat().st_size
        if size > MOST_TRACE_BYTES:
            raise Unsupported(f"its trace of {steps} calls takes {size / 1e6:.0f} MB")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return Profile(
        file=f"{folder.name}/{path.name}",
        steps=steps,
        bytes=size,
        seconds_per_call_profiled=median(profiled[WARM_UP_STEPS:]),
        seconds_per_call_unprofiled=median(plain),
    )


def _activities(device: torch.device) -> list[ProfilerActivity]:
    host = [ProfilerActivity.CPU]
    return [*host, ProfilerActivity.CUDA] if device.type == "cuda" else host
