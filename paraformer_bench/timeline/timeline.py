"""What traces say: of one case as numbers, a class and a sentence, and along a curve's depths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

# Classes of a timeline
INCOMPLETE = "incomplete"
CHAIN = "chain"
CONCURRENT = "concurrent"
LAUNCH_BOUND = "launch-bound"
NO_OVERLAP = "streams without overlap"
# and of a curve, beside that of its deepest timeline.
BATCHED = "batched"
FLAT = "flat"

OVERLAPPING = 0.05
"""Share of the busy time with several at once from which on they count as concurrent.

Neighbours in one stream overlap a little too: the tail of a kernel and the head of the next.
"""

WAITING = 0.5
"""Share of the span that the device waits for the host from which on a case is launch-bound."""

SAME = 1.1
"""Sizes that grow by less than this factor from the shallowest to the deepest timeline do not."""

LEAST_SLOPE = 0.5
"""Fewer further operations for each block than this are none.

Libraries take other kernels for larger operands, and a split product is two: a few more in all.
"""

WORDS = {
    INCOMPLETE: "trace incomplete",
    CHAIN: "one operation after another; whether there is work side by side inside them, only "
    "other depths can show",
    CONCURRENT: "operations ran side by side",
    LAUNCH_BOUND: "the device waited for the host most of the time",
    NO_OVERLAP: "several streams, but their operations never ran at the same time",
}

CURVE_WORDS = WORDS | {
    CHAIN: "one operation after another, and with depth more of them",
    BATCHED: "one operation after another and hardly more of them at greater depth, but larger "
    "ones: what depth adds runs side by side inside them",
    FLAT: "hardly more operations at greater depth, and none that the trace shows to be larger",
}


@dataclass(frozen=True)
class DeviceActivity:
    """One GPU in one step; the fields are those of `Timeline`."""

    operations: int
    busy_seconds: float
    union_seconds: float


@dataclass(frozen=True)
class Timeline:
    """The metrics of one trace. All are of one step, the one of median length.

    What is None has a reason in `null_reasons`. "Operations" are those of the device: kernels,
    copies and fills of a GPU; on a CPU the host's operations, without views and allocations.

    Attributes:
        kind: One of the classes above; `WORDS` says each in a sentence.
        reason: Why the timeline is ``incomplete``; empty otherwise.
        steps: Steps that were looked at, the first one left out.
        step: Name of the step that the numbers are of.
        step_seconds: Its length on the host's clock.
        span_seconds: From its start to the end of its last operation.
        matched: Share of launching calls and device operations that have each other.
        graph: Whether the operations are replays of CUDA graphs.
        streams: Streams that ran operations; None on a CPU and for graphs.
        busy_seconds: Sum of the durations of all operations.
        union_seconds: Time in which at least one of them ran.
        concurrency: busy over union: how many operations ran at once on average while any did.
        overlap_seconds: Time of the span with 0, 1, 2, … operations running.
        branches: Branches that are annotated.
        branch_overlap_seconds: Time in which operations of different branches ran.
        chain_operations: Operations of the longest chain: each starts after the last one ended.
        chain_seconds: Sum of their durations.
        chain_share: chain over busy: 1 if all ran one after another, 1/n for n equal ones at once.
        idle_seconds: Time of the span in which no operation ran.
        idle_host_seconds: The part of it until the next operation's launch had returned.
        idle_device_seconds: The rest: launched already, but not running.
        launch_bound: Share of the span in which the device waited for the host.
        queue_seconds: Median time from a launch's return to the operation's start.
        blocks_per_sm: Thread blocks per multiprocessor, mean over the kernels' time.
        waves: The same over how many blocks a multiprocessor can hold at once.
        elements: Elements of all tensors that go into the operations.
        peak_live_bytes: The most memory in use within the step above what was at its start.
        devices: Each GPU by its number.
        null_reasons: Why a field is None, by its name.
    """

    kind: str
    reason: str = ""
    on_gpu: bool = False
    steps: int = 0
    step: str = ""
    step_seconds: float | None = None
    span_seconds: float | None = None
    operations: int | None = None
    kernels: int | None = None
    matched: float | None = None
    graph: bool = False
    streams: int | None = None
    busy_seconds: float | None = None
    union_seconds: float | None = None
    concurrency: float | None = None
    overlap_seconds: list[float] | None = None
    branches: int = 0
    branch_overlap_seconds: float | None = None
    chain_operations: int | None = None
    chain_seconds: float | None = None
    chain_share: float | None = None
    idle_seconds: float | None = None
    idle_host_seconds: float | None = None
    idle_device_seconds: float | None = None
    launch_bound: float | None = None
    queue_seconds: float | None = None
    blocks_per_sm: float | None = None
    waves: float | None = None
    elements: int | None = None
    peak_live_bytes: int | None = None
    devices: Mapping[int, DeviceActivity] = field(default_factory=dict)
    null_reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def incomplete(reason: str, on_gpu: bool = False, steps: int = 0) -> Timeline:
    """Return a timeline without numbers, and why."""
    empty = vars(Timeline(INCOMPLETE))
    reasons = {name: reason for name, value in empty.items() if value is None}
    return Timeline(INCOMPLETE, reason, on_gpu, steps, null_reasons=reasons)


def classify(timeline: Timeline) -> str:
    """Return the class of a complete timeline.

    Branches that overlap are what is looked for. Where none are annotated, any operations that
    do count instead.
    """
    if not timeline.on_gpu:
        return CHAIN
    together = timeline.branch_overlap_seconds
    if together is None:
        together = sum((timeline.overlap_seconds or [])[2:])
    if together >= OVERLAPPING * (timeline.union_seconds or 0.0) and together > 0:
        return CONCURRENT
    if (timeline.streams or 1) > 1:
        return NO_OVERLAP
    return LAUNCH_BOUND if (timeline.launch_bound or 0.0) >= WAITING else CHAIN


def say(timeline: Timeline) -> str:
    """Return the sentence for one timeline, with the number that decided."""
    words = WORDS[timeline.kind]
    if timeline.kind == INCOMPLETE:
        return f"{words}: {timeline.reason}"
    if timeline.kind == CONCURRENT:
        return f"{words}: {timeline.concurrency:.2f} at once on average"
    if timeline.kind in (LAUNCH_BOUND, NO_OVERLAP):
        return f"{words} ({timeline.launch_bound:.0%} of the span was spent waiting for the host)"
    return words


@dataclass(frozen=True)
class CurveTimeline:
    """What the timelines of one curve say together.

    Attributes:
        kind: A class of `Timeline`, ``batched`` or ``flat``.
        words: The sentence for it.
        depths: Of complete timelines, ascending.
        operations: Per step at these depths: kernels on a GPU.
        operations_per_block: Slope of the least-squares line of them against depth; None with
            fewer than two depths.
    """

    kind: str
    words: str
    depths: list[int]
    operations: list[int]
    operations_per_block: float | None


def along(timelines: Mapping[int, Timeline]) -> CurveTimeline:
    """Judge the timelines of one curve by depth: does that add operations, or work inside them?

    Branches that are batched run one kernel after another, as a serial net does. What tells them
    apart is that the number of kernels does not grow with depth, and the work inside each does.
    The class is that of the deepest complete timeline, unless the depths together say more.
    """
    complete = {d: t for d, t in sorted(timelines.items()) if t.kind != INCOMPLETE}
    depths, whole = list(complete), list(complete.values())
    if not whole:
        reasons = dict.fromkeys(timeline.reason for timeline in timelines.values())
        words = f"{WORDS[INCOMPLETE]}: {'; '.join(reasons) or 'there is none'}"
        return CurveTimeline(INCOMPLETE, words, [], [], None)
    operations = [int((t.kernels if t.on_gpu else t.operations) or 0) for t in whole]
    first, deepest = whole[0], whole[-1]
    kind, slope = deepest.kind, None
    if len(depths) > 1:
        slope = float(np.polyfit(depths, operations, 1)[0])
        if kind != CONCURRENT and slope < LEAST_SLOPE:
            larger = _grows(first.blocks_per_sm, deepest.blocks_per_sm)
            larger = larger or _grows(first.elements, deepest.elements)
            kind = BATCHED if larger else FLAT
    return CurveTimeline(kind, _curve_words(kind, slope, deepest), depths, operations, slope)


def _grows(shallow: float | None, deep: float | None) -> bool:
    return shallow is not None and deep is not None and deep > SAME * shallow


def _curve_words(kind: str, slope: float | None, deepest: Timeline) -> str:
    if slope is None:
        return say(deepest)
    if kind in (BATCHED, FLAT):
        bound = deepest.kind == LAUNCH_BOUND
        return f"{CURVE_WORDS[kind]}; {say(deepest)}" if bound else CURVE_WORDS[kind]
    if kind == CHAIN:
        return f"{CURVE_WORDS[kind]} ({slope:.3g} more for each block)"
    more = f"{slope:.3g} more of them for each block" if slope > LEAST_SLOPE else ""
    return f"{say(deepest)}; {more or 'hardly more of them at greater depth'}"
