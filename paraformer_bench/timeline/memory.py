"""Memory over a step, from the allocator's events."""

from __future__ import annotations

import pandas as pd

from paraformer_bench.timeline.event import MEMORY
from paraformer_bench.timeline.steps import Step


def live_bytes(events: pd.DataFrame, step: Step, on_gpu: bool) -> pd.DataFrame:
    """Return memory in use after each allocation and release within a step.

    Args:
        events: Of a trace.
        step: Which step.
        on_gpu: Whose memory: that of the GPUs, all together, or the host's.

    Returns:
        ``seconds`` since the step's start and ``live_bytes`` above what was in use then; negative
        where more was freed than allocated.
    """
    inside = (events["start"] >= step.start) & (events["start"] < step.end)
    changes = events[(events["kind"] == MEMORY) & inside & (events["on_gpu"] == int(on_gpu))]
    return pd.DataFrame(
        {
            "seconds": (changes["start"].to_numpy() - step.start) / 1e9,
            "live_bytes": changes["bytes"].cumsum().to_numpy(),
        }
    )
