"""What a trace says of one case, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

INCOMPLETE = "incomplete"
CHAIN = "chain"
CONCURRENT = "concurrent"
LAUNCH_BOUND = "launch-bound"
NO_OVERLAP = "streams without overlap"


@dataclass(frozen=True)
class DeviceTime:
    """One GPU in one step.

    Attributes:
        operations: Kernels, copies and fills.
        busy_seconds: Sum of their durations.
        union_seconds: Time in which at least one of them ran.
    """

    operations: int
    busy_seconds: float
    union_seconds: float


@dataclass(frozen=True)
class Timeline:
    """The metrics of one trace. All are of one step, the one of median length.

    What is None has a reason in `null_reasons`. "Operations" are those of the device: kernels,
    copies and fills of a GPU; on a CPU the host's operations, without views and allocations.

    Attributes:
        kind: One of the classes above; `words.WORDS` says each in a sentence.
        reason: Why the timeline is ``incomplete``; empty otherwise.
        on_gpu: Whether the operations are a GPU's.
        steps: Steps that were looked at, the first one left out.
        step: Name of the step that the numbers are of.
        step_seconds: Its length on the host's clock.
        span_seconds: From its start to the end of its last operation.
        operations: In the step.
        kernels: Of these, kernels; None on a CPU.
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
    devices: Mapping[int, DeviceTime] = field(default_factory=dict)
    null_reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def incomplete(reason: str, **known: Any) -> Timeline:
    """Return a timeline without numbers, and why."""
    empty = Timeline(INCOMPLETE, reason, **known)
    missing = {name: reason for name, value in vars(empty).items() if value is None}
    return Timeline(INCOMPLETE, reason, **known, null_reasons=missing)
