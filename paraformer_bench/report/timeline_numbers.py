"""Timelines as a table: which numbers stand in it, and why others do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paraformer_bench.report import units
from paraformer_bench.timeline.timeline import INCOMPLETE, Timeline


@dataclass(frozen=True)
class Column:
    """A quantity of a timeline.

    Attributes:
        field: Its name in `Timeline`.
        head: Its name for people.
        meaning: What it is.
        text: Writes a value.
    """

    field: str
    head: str
    meaning: str
    text: Callable[[float], str]

    def cell(self, timeline: Timeline) -> str:
        """Return the value as text."""
        value = getattr(timeline, self.field)
        return units.NONE if value is None else self.text(value)


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _time(seconds: float) -> str:
    return units.time(seconds) if seconds else "0"


def _share(value: float) -> str:
    return f"{value:.0%}"


def _size(value: float) -> str:
    return f"{units.short(value * units.MIB)} MiB"


COLUMNS: Sequence[Column] = (
    Column("operations", "operations", "of one call; on a GPU kernels, copies and fills", _count),
    Column("kernels", "kernels", "of one call", _count),
    Column(
        "chain_operations",
        "chain",
        "operations of the longest chain, in which each starts after the one before has ended",
        _count,
    ),
    Column(
        "chain_share",
        "chain share",
        "time of the longest chain over that of all operations: 100% if they run one after "
        "another, 1/n if n equal ones run at once",
        _share,
    ),
    Column("concurrency", "at once", "operations at once, on average while any runs", units.short),
    Column(
        "branch_overlap_seconds",
        "branches overlap",
        "time in which operations of different branches run",
        _time,
    ),
    Column("streams", "streams", "that ran operations", _count),
    Column(
        "blocks_per_sm",
        "blocks per SM",
        "thread blocks of a kernel per multiprocessor, mean over the kernels' time",
        units.short,
    ),
    Column(
        "waves",
        "waves",
        "the same over how many blocks a multiprocessor holds at once; below 1 it has room left",
        units.short,
    ),
    Column(
        "launch_bound",
        "host-bound",
        "share of the call in which the GPU waits for the host",
        _share,
    ),
    Column(
        "idle_host_seconds",
        "idle, not launched",
        "time in which nothing runs because nothing is launched yet",
        _time,
    ),
    Column(
        "idle_device_seconds",
        "idle, launched",
        "time in which nothing runs although it is launched",
        _time,
    ),
    Column(
        "queue_seconds",
        "queue delay",
        "median time from a launch's return to the start of what it launched",
        _time,
    ),
    Column("elements", "elements", "of all tensors that go into the operations", _count),
    Column(
        "peak_live_bytes",
        "live peak",
        "most memory in use within the call above what was at its start",
        _size,
    ),
)


def shown(timelines: Sequence[Timeline]) -> list[Column]:
    """Return the columns that any of these timelines has a value for."""
    return [
        column
        for column in COLUMNS
        if any(getattr(timeline, column.field) is not None for timeline in timelines)
    ]


def absent(timelines: Sequence[Timeline]) -> list[str]:
    """Say which quantities no whole timeline has a value for, by the reason."""
    whole = [timeline for timeline in timelines if timeline.kind != INCOMPLETE]
    reasons: dict[str, list[str]] = {}
    for column in COLUMNS if whole else ():
        if column in shown(whole):
            continue
        for reason in dict.fromkeys(one.null_reasons.get(column.field, "") for one in whole):
            reasons.setdefault(reason, []).append(column.head)
    return [f"{', '.join(heads)}: n/a, {reason}" for reason, heads in reasons.items()]
