"""Timelines on a GPU: kernels, branches on streams, and what a graph replays."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.instrument.capture import wake
from paraformer_bench.instrument.device import Device
from paraformer_bench.study.case import Case
from paraformer_bench.study.job import ProfileJob
from paraformer_bench.study.timelines import Profile
from paraformer_bench.timeline.metrics import examine
from paraformer_bench.timeline.timeline import (
    BATCHED,
    CHAIN,
    CONCURRENT,
    LAUNCH_BOUND,
    SAME,
    Timeline,
    along,
)
from paraformer_bench.workers.profile import profile_case

pytestmark = pytest.mark.gpu

Trace = list[dict[str, Any]]


@pytest.fixture
def take(
    gpu: Device, make_case: Callable[..., Case], tmp_path: Path
) -> Callable[..., tuple[int, Trace]]:
    """Profile a case; return the number of its calls and the complete events of its trace."""

    def take(**fields: Any) -> tuple[int, Trace]:
        profile = _profile(gpu, make_case(**fields), tmp_path)
        with gzip.open(tmp_path / str(profile.file)) as file:
            events = json.load(file)["traceEvents"]
        return profile.steps, [event for event in events if event["ph"] == "X"]

    return take


@pytest.fixture
def look(
    gpu: Device, make_case: Callable[..., Case], tmp_path: Path
) -> Callable[..., dict[int, Timeline]]:
    """Profile a curve at depths 1 and 16; return its timelines by depth."""

    def look(**fields: Any) -> dict[int, Timeline]:
        found = {}
        for depth in (1, 16):
            profile = _profile(gpu, make_case(depth=depth, **fields), tmp_path)
            found[depth] = examine(tmp_path / str(profile.file)).timeline
            assert found[depth].reason == ""
            assert found[depth].on_gpu
        return found

    return look


def _profile(gpu: Device, case: Case, folder: Path) -> Profile:
    wake(gpu.torch_device)
    job = ProfileJob(device="cuda:0", cases=[case], folder=str(folder), seconds=0.1)
    return profile_case(case, gpu, job)


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


def test_serial_net_and_loop_are_chains(look) -> None:
    for model in ("serial", "paraformer"):
        timelines = look(model=model, execution="loop")
        curve = along(timelines)
        assert curve.kind in (CHAIN, LAUNCH_BOUND)
        assert curve.operations[1] > 8 * curve.operations[0]
        assert timelines[16].chain_share > 0.95
        assert timelines[16].matched >= 0.99


@pytest.mark.parametrize("runtime", ["eager", "graph"])
def test_stacked_branches_are_batched(look, runtime: str) -> None:
    timelines = look(model="paraformer", execution="stacked", runtime=runtime)
    curve = along(timelines)
    # cuBLAS may split a long product at one depth and not at the other, a kernel more for each.
    # Even one kernel more for each block would be 15.
    shallow, deep = curve.operations
    assert abs(deep - shallow) <= 4
    assert curve.kind == BATCHED or deep > SAME * shallow
    assert timelines[16].graph == (runtime == "graph")
    assert timelines[16].blocks_per_sm > timelines[1].blocks_per_sm
    assert timelines[16].waves is not None


def test_branches_on_streams_overlap_when_a_graph_launches_them(look) -> None:
    """Launched one by one, short kernels may never meet; a graph launches them at once."""
    timelines = look(model="paraformer", execution="streams", runtime="graph")
    assert along(timelines).kind == CONCURRENT
    assert timelines[16].concurrency > 1.5
    assert timelines[16].chain_share < 0.8


def test_memory_is_the_gpus(look) -> None:
    timelines = look(model="paraformer", execution="stacked")
    assert timelines[16].peak_live_bytes > timelines[1].peak_live_bytes > 0
