"""Showing how far a sweep is and how long it will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_REDRAW_SECONDS = 1.0
_LINE_SECONDS = 15.0


class SweepProgress:
    """A bar on a terminal, a line every 15 seconds elsewhere.

    Drawing costs CPU time that the worker could need, so nothing is drawn but on `step`, which
    is called when the worker is between two samples, and at most once a second.

    Args:
        console: Where to draw.
        steps: Steps in the whole sweep, if it is not ended before by its budget.
        deadline: When the budget is spent, on ``clock``; infinity without one.
        clock: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        console: Console,
        steps: int,
        deadline: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._start = self._drawn = clock()
        self._deadline = deadline
        self._steps = max(steps, 1)
        self._taken = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  {task.fields[left]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=1, left="")
        self._drawing = console.is_terminal  # by now: it may hang up
        if self._drawing:
            self._bar.start()

    def step(self, steps: int, what: str) -> None:
        """Note that ``steps`` more are done; ``what`` is under way."""
        self._taken += steps
        now = self._clock()
        pause = _REDRAW_SECONDS if self._drawing else _LINE_SECONDS
        if now - self._drawn < pause:
            return
        self._drawn = now
        seconds = self.seconds_left()
        passed = now - self._start
        share = passed / (passed + seconds)
        left = f"{duration(seconds)} left"
        if self._drawing:
            self._bar.update(self._task, completed=share, description=what, left=left)
            self._bar.refresh()
        else:
            self._console.print(f"{share:4.0%}  {left}  {what}", highlight=False)

    def seconds_left(self) -> float:
        """Estimate from the pace so far, and from the deadline."""
        now = self._clock()
        pace = (now - self._start) / max(self._taken, 1)
        return max(min(pace * (self._steps - self._taken), self._deadline - now), 0)

    def stop(self) -> None:
        """Take the bar off the screen."""
        if self._drawing:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Write seconds as people do: ``45 s``, ``3 min 20 s``, ``1 h 5 min``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def count(number: int, noun: str) -> str:
    """Return ``1 block`` or ``3 blocks``."""
    return f"{number} {noun if number == 1 else noun + 's'}"
