"""A child process towards its parent: where its events go, and when it ends. No torch."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from paraformer_bench.study import wire
from paraformer_bench.study.events import Begin, CaseEvent, Finished
from paraformer_bench.study.record import Status


class ParentGone(Exception):
    """Nobody reads the events any more."""


def take_stdout() -> Callable[[Any], None]:
    """Keep stdout for events alone and send everything else written there to stderr.

    Returns:
        Writes a struct, such as an event, as one line of JSON.
    """
    channel = os.dup(1)
    os.dup2(2, 1)

    def emit(event: Any) -> None:
        data = memoryview(wire.encode(event) + b"\n")
        try:
            while data:
                data = data[os.write(channel, data) :]
        except BrokenPipeError:
            raise ParentGone from None

    return emit


class Reporter:
    """Passes events on, one at a time, and knows as the parent does which case is under way.

    Args:
        emit: Where events go.
    """

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._current: str | None = None

    def __call__(self, event: Any) -> None:
        """Pass one event on."""
        with self._lock:
            if isinstance(event, CaseEvent):
                self._current = event.case_id if isinstance(event, Begin) else None
            self._emit(event)

    def last_words(self, status: Status, reason: str) -> None:
        """End the case under way, if there is one. No event can follow, from whichever thread."""
        self._lock.acquire()
        if self._current is not None:
            self._emit(Finished(case_id=self._current, status=status, reason=reason))


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that a hung case cannot linger."""
    parent = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        set_parent_death_signal = 1
        prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
