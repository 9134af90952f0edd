"""A child process towards its parent: where its events go, and when it ends. No torch."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from collections.abc import Callable
from typing import Any


class ParentGone(Exception):
    """Nobody reads the events any more."""


def take_stdout() -> Callable[[dict[str, Any]], None]:
    """Keep stdout for events alone and send everything else written there to stderr."""
    channel = os.dup(1)
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        data = memoryview(json.dumps(event).encode() + b"\n")
        try:
            while data:
                data = data[os.write(channel, data) :]
        except BrokenPipeError:
            raise ParentGone from None

    return emit


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that a hung case cannot linger."""
    parent = os.getppid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        set_parent_death_signal = 1
        prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
