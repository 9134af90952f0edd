"""A worker on a node that is alone at work."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from paraformer_bench.clusters.errand import Errand, keep_trace
from paraformer_bench.clusters.mailbox import Letter

LOOK_SECONDS = 5.0
"""How often the cluster is asked for its nodes: some are lost, others join."""


class Post(Protocol):
    """What a worker needs of its cluster."""

    def send(self, node: str, packed: Errand) -> int:
        """Queue an errand on a node; return the number of its worker."""

    def wait(self, seconds: float) -> list[Letter]:
        """Return what workers said."""

    def end(self, worker: int) -> None:
        """Kill a worker if it still runs."""


class RayWorker:
    """A `local.Worker` on a node of a cluster.

    Args:
        cluster: Where it runs.
        node: Which node.
        packed: What to do.
        traces: Receives the traces that it takes.
    """

    def __init__(
        self, cluster: Post, node: str, packed: Errand, traces: Path | None = None
    ) -> None:
        self._cluster = cluster
        self._traces = traces
        self._number = cluster.send(node, packed)
        self._events: deque[dict[str, Any]] = deque()
        self._ending = "the worker was stopped"

    def next_event(self, seconds: float) -> dict[str, Any] | None:
        """Return the next event, or None when there will be no more.

        Raises:
            TimeoutError: None came within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            while not self._events:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                letters = self._cluster.wait(min(left, LOOK_SECONDS))
                self._events += [event for number, event in letters if number == self._number]
            event = self._events.popleft()
            if event["event"] in ("ended", "lost"):
                self._ending = event["reason"]
                return None
            if self._traces is not None:
                keep_trace(event, self._traces)
            if event["event"] != "started":
                return event

    def close(self) -> str:
        """End the worker if it still runs; say in a line how it ended."""
        self._cluster.end(self._number)
        return self._ending
