"""The class of a timeline, and the sentence that a report says for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paraformer_bench.timeline.timeline import (
    CHAIN,
    CONCURRENT,
    INCOMPLETE,
    LAUNCH_BOUND,
    NO_OVERLAP,
    Timeline,
)

OVERLAPPING = 0.05
"""Share of the busy time with several at once from which on they count as concurrent.

Neighbours in one stream overlap a little too: the tail of a kernel and the head of the next.
"""

WAITING = 0.5
"""Share of the span that the device waits for the host from which on a case is launch-bound."""

WORDS = {
    INCOMPLETE: "trace incomplete",
    CHAIN: "one operation after another; whether there is work side by side inside them, only "
    "other depths can show",
    CONCURRENT: "operations ran side by side",
    LAUNCH_BOUND: "the device waited for the host most of the time",
    NO_OVERLAP: "several streams, but their operations never ran at the same time",
}


def classify(known: Mapping[str, Any]) -> str:
    """Return the class of a complete timeline.

    Branches that overlap are what is looked for. Where none are annotated, any operations that
    do count instead.

    Args:
        known: The fields of the timeline that have a value.
    """
    if not known["on_gpu"]:
        return CHAIN
    together = known["branch_overlap_seconds"]
    if together is None:
        together = sum(known["overlap_seconds"][2:])
    if together >= OVERLAPPING * known["union_seconds"] and together > 0:
        return CONCURRENT
    if (known["streams"] or 1) > 1:
        return NO_OVERLAP
    return LAUNCH_BOUND if known["launch_bound"] >= WAITING else CHAIN


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
