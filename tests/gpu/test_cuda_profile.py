"""Timelines on a GPU: kernels, branches on streams, and what a graph replays."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.case import Case
from paraformer_bench.measure.capture import wake
from paraformer_bench.measure.device import Device
from paraformer_bench.measure.profiler import profile_case
from paraformer_bench.profiling import ProfileJob

pytestmark = pytest.mark.gpu

Trace = list[dict[str, Any]]


@pytest.fixture
def take(
    gpu: Device, make_case: Callable[..., Case], tmp_path: Path
) -> Callable[..., tuple[int, Trace]]:
    """Profile a case; return the number of its calls and the complete events of its trace."""

    def take(**fields: Any) -> tuple[int, Trace]:
        wake(gpu.torch_device)
        case = make_case(**fields)
        profile = profile_case(case, gpu, ProfileJob("cuda:0", [case], str(tmp_path), seconds=0.1))
        with gzip.open(tmp_path / str(profile.file)) as file:
            events = json.load(file)["traceEvents"]
        return profile.steps, [event for event in events if event["ph"] == "X"]

    return take


def kernels(events: Trace) -> Trace:
    return [event for event in events if event.get("cat") == "kernel"]


@pytest.mark.parametrize("execution", ["loop", "streams"])
def test_branches_are_marked_and_launch_kernels(take, execution: str) -> None:
    steps, events = take(model="paraformer", execution=execution, depth=4)
    marks = [e["name"] for e in events if e.get("cat") == "user_annotation"]
    for branch in range(4):
        assert marks.count(f"branch/{branch}") == steps
    found = kernels(events)
    assert len(found) % steps == 0
    assert len({event["args"]["stream"] for event in found}) >= (
        4 if execution == "streams" else 1
    )


@pytest.mark.parametrize("execution", ["loop", "streams", "stacked"])
def test_replay_shows_its_kernels(take, execution: str) -> None:
    """A graph that is made after the profiler was there once is no single piece."""
    same = {"model": "paraformer", "execution": execution, "depth": 4}
    eager_steps, eager = take(runtime="eager", **same)
    steps, replayed = take(runtime="graph", **same)
    assert len(kernels(replayed)) / steps >= 0.9 * len(kernels(eager)) / eager_steps
    assert not [e for e in replayed if e["name"].startswith("branch/")]
