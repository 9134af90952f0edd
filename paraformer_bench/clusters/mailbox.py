"""Where workers on a cluster leave what they have to say until the command takes it."""

from __future__ import annotations

import asyncio
from typing import Any

Letter = tuple[int, dict[str, Any]]
"""Number of a worker, and an event."""


class Mailbox:
    """Events in the order they came. Its methods are called by one thread."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._arrived = asyncio.Event()

    async def put(self, worker: int, event: dict[str, Any]) -> None:
        """Leave an event."""
        self._letters.append((worker, event))
        self._arrived.set()

    async def take(self, seconds: float) -> list[Letter]:
        """Return all events, waiting a while for the first; there may be none."""
        if not self._letters:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), seconds)
            except asyncio.TimeoutError:
                return []
        letters, self._letters = self._letters, []
        return letters
