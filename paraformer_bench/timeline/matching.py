"""Who asked for what: operations of the host, calls that launch, and what ran on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from paraformer_bench.timeline.intervals import Times, enclosing
from paraformer_bench.timeline.operations import host_operations
from paraformer_bench.timeline.trace import ANNOTATION, CALLS, ON_DEVICE

PREFIX = "ProfilerStep#"
"""Of the annotation around one profiled call."""

PARTS = {"branch": "branch/", "layer": "layer/", "place": "branches/"}
"""Column and annotation: ``branch/3`` is around what the host does for branch 3. A place is where
branches fork and join; a layer waits for the one before it."""

LAUNCHES = r"LaunchKernel|LaunchCooperative|GraphLaunch|Memcpy|Memset"
"""Calls of the CUDA runtime and driver that put work on a device."""

_Array: TypeAlias = npt.NDArray[Any]


def steps(events: pd.DataFrame) -> pd.DataFrame:
    """Return ``name``, ``start`` and ``end`` (ns of the host's clock) of each profiled call.

    The first is left out: it still pays for the profiler's start.
    """
    marks = events[(events["kind"] == ANNOTATION) & events["name"].str.startswith(PREFIX)]
    return marks[["name", "start", "end"]].iloc[1:].reset_index(drop=True)


@dataclass(frozen=True)
class TracedWork:
    """What ran in the steps of a trace.

    Attributes:
        operations: A row for each operation: on a device if the trace has one, else on the host.
            ``kind name start end lane device stream blocks node`` as in the trace; ``step`` is
            its position in the list of steps; ``operation`` the name of the host's operation
            that it belongs to (empty: not known), ``elements`` how many go into that, at the
            first one that belongs to it; ``branch``, ``layer`` and ``place`` are the numbers of
            those it is part of (-1: none); ``launch`` says when the call that launched it had
            returned and ``correlation`` which call that was (0: none, then ``launch`` is the
            operation's own start).
        calls: Calls that put work on a device: ``step``, ``correlation``, ``graph``.
    """

    operations: pd.DataFrame
    calls: pd.DataFrame
    on_gpu: bool

    @property
    def replays(self) -> bool:
        """Whether CUDA graphs were replayed."""
        return bool(self.calls["graph"].any() or (self.operations["node"] != 0).any())


def match(events: pd.DataFrame, steps: pd.DataFrame) -> TracedWork:
    """Find the operations of each step, the calls that launched them and their branches."""
    bounds = steps["start"].to_numpy(), steps["end"].to_numpy()
    of_host = host_operations(events)
    calls = _calls(events)
    calls["step"] = enclosing(*bounds, calls["start"].to_numpy())
    done = events[events["kind"].isin(ON_DEVICE)].copy()
    on_gpu = bool(len(done) or len(calls))
    if on_gpu:
        # Not by a join, which turns times into floats where something is missing.
        call = pd.Index(calls["correlation"]).get_indexer(done["correlation"])
        is_known, start = call >= 0, done["start"].to_numpy()
        done.loc[~is_known, "correlation"] = 0
        done["launch"] = np.where(is_known, _take(calls["end"].to_numpy(), call, 0), start)
        # A device's clock may be off by a little, so the call decides in which step it ran.
        asked_at = np.where(is_known, _take(calls["start"].to_numpy(), call, 0), start)
        thread = _take(calls["thread"].to_numpy(), call, "")
        done["lane"] = [
            f"GPU {device} stream {stream}"
            for device, stream in zip(done["device"], done["stream"], strict=True)
        ]
        inside = _within(of_host, thread, asked_at)
        done["operation"] = _take(of_host["name"].to_numpy(), inside, "")
        done["elements"] = _take(of_host["elements"].to_numpy(), inside, 0)
        done.loc[pd.Series(inside).duplicated().to_numpy(), "elements"] = 0
    else:
        done = of_host.assign(lane="thread " + of_host["thread"], operation=of_host["name"])
        done["launch"] = asked_at = done["start"].to_numpy()
        thread = done["thread"].to_numpy()
    done["step"] = enclosing(*bounds, asked_at)
    for column, mark in PARTS.items():
        done[column] = _part(events, mark, thread, asked_at)
    within = done["step"] >= 0
    return TracedWork(done[within].reset_index(drop=True), calls[calls["step"] >= 0], on_gpu)


def _outermost(events: pd.DataFrame) -> pd.Series[bool]:
    """Tell which events lie in no other one of the same thread; they are ordered by start."""
    before = events.groupby("thread", sort=False)["end"].cummax()
    before = before.groupby(events["thread"], sort=False).shift(fill_value=np.iinfo(np.int64).min)
    return events["start"] >= before


def _calls(events: pd.DataFrame) -> pd.DataFrame:
    calls = events[events["kind"].isin(CALLS) & (events["correlation"] != 0)]
    calls = calls[calls["name"].str.contains(LAUNCHES)].drop_duplicates("correlation")
    graph = calls["name"].str.contains("GraphLaunch")
    return calls[["start", "end", "thread", "correlation"]].assign(graph=graph)


def _part(events: pd.DataFrame, mark: str, thread: _Array, at: Times) -> _Array:
    named = (events["kind"] == ANNOTATION) & events["name"].str.fullmatch(mark + "[0-9]{1,9}")
    marks = events[named]
    marks = marks[_outermost(marks)]
    numbers = marks["name"].str.removeprefix(mark).astype("int64").to_numpy()
    return _take(numbers, _within(marks, thread, at), -1)


def _within(around: pd.DataFrame, thread: _Array, at: Times) -> _Array:
    """Return for each time on a thread the position in ``around`` it lies in, or -1."""
    positions = np.full(len(at), -1, dtype=np.int64)
    threads = around["thread"].to_numpy()
    starts, ends = around["start"].to_numpy(), around["end"].to_numpy()
    for name in pd.unique(threads):
        there = np.flatnonzero(threads == name)
        asked = np.flatnonzero(thread == name)
        inside = enclosing(starts[there], ends[there], at[asked])
        positions[asked] = np.where(inside >= 0, there[inside], -1)
    return positions


def _take(values: _Array, positions: Times, missing: object) -> _Array:
    """Return the values at these positions, and ``missing`` at -1."""
    padded = np.append(values, np.array([missing], dtype=values.dtype))
    return np.asarray(padded[positions])
