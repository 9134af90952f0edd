"""Ctrl-C, a polite kill and a lost connection: all of them end a sweep, but not just anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Interruptible = Callable[[], AbstractContextManager[None]]
"""Makes a context in which a signal interrupts at once."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` when any of `SIGNALS` comes.

    One that is ignored, as ``nohup`` has it, stays ignored.
    """
    with _handled_by(_interrupt):
        yield


class Hold:
    """Keeps a signal until there is a place to stop. A second one does not wait for that.

    Attributes:
        came: A signal has come and is held.
    """

    def __init__(self) -> None:
        self.came = False
        self._released = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._released:
            self._released = False  # the next one shall not break into what the first one began
            raise KeyboardInterrupt
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    @contextmanager
    def released(self) -> Iterator[None]:
        """Raise ``KeyboardInterrupt`` once when a signal comes in here, or has come before."""
        self._released = True
        try:
            if self.came:
                self.came = False
                raise KeyboardInterrupt
            yield
        finally:
            self._released = False


@contextmanager
def signals_held() -> Iterator[Hold]:
    """Hold the first of `SIGNALS` that comes."""
    hold = Hold()
    with _handled_by(hold):
        yield hold


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread handle signals
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    taken = [number for number, old in before.items() if old is not signal.SIG_IGN]
    try:
        for number in taken:
            signal.signal(number, handler)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
