"""A worker's events on their way out, and the case that they leave under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Reporter:
    """Passes events on, one at a time, and knows as the parent does which case is under way.

    Args:
        emit: Where events go.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._current: str | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        """Pass one event on."""
        with self._lock:
            if "case_id" in event:
                self._current = event["case_id"] if event["event"] == "begin" else None
            self._emit(event)

    def last_words(self, status: str, reason: str) -> None:
        """End the case under way, if there is one. No event can follow, from whichever thread."""
        self._lock.acquire()
        if self._current is not None:
            event = {"event": "finished", "case_id": self._current, "flags": []}
            self._emit(event | {"status": status, "reason": reason})
