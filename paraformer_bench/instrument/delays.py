"""Calls whose true time is known, for calibration."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Protocol

import torch

from paraformer_bench.instrument.clock import Call, Clock
from paraformer_bench.instrument.sampler import Slice

Take = Callable[[Call], Slice]


class Delays(Protocol):
    """Makes delays and knows how long they were."""

    def inject(self, seconds: float, take: Take) -> tuple[Slice, list[float]]:
        """Let ``take`` sample a delay; return its samples and the truth of each wall sample."""


class CpuDelays:
    """Spins on the host's clock. Each call knows how long it was by its own readings of it.

    It is the clock that the instrument reads too: this shows what the instrument adds to a call,
    not that the host's clock is right.
    """

    def inject(self, seconds: float, take: Take) -> tuple[Slice, list[float]]:
        """Let ``take`` sample a spin of ``seconds``."""
        seen: list[float] = []
        clock, note = time.perf_counter, seen.append

        def spin() -> None:
            start = clock()
            deadline = start + seconds
            while (now := clock()) < deadline:
                pass
            note(now - start)

        found = take(spin)
        return found, seen[-len(found.wall) :]


class CudaDelays:
    """Spins on the GPU for a number of cycles; how long a cycle is, the host's clock tells.

    Two spins much longer than any delay are timed on the host's clock. Launching and waiting cost
    both the same, so the difference of their times is that of their cycles. No CUDA event takes
    part, so for device time it is an independent truth. It is looked at before and after each
    slice, as the GPU's clock may move.

    Args:
        clock: The wall clock of the GPU.
    """

    _SHORT = 5_000_000  # 3 ms or so
    _LONG = 155_000_000  # 0.1 s or so: a host late by 0.1 ms is an error of 0.1%
    _SPINS = 3

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spin(self._SHORT)  # loads the kernel

    def inject(self, seconds: float, take: Take) -> tuple[Slice, list[float]]:
        """Let ``take`` sample a spin of about ``seconds``."""
        before = self._cycle()
        cycles = round(seconds / before)
        found = take(lambda: torch.cuda._sleep(cycles))
        truth = cycles * (before + self._cycle()) / 2
        return found, [truth] * len(found.wall)

    def _cycle(self) -> float:
        """Seconds of one cycle right now."""
        differences = [
            self._spin(self._LONG) - self._spin(self._SHORT) for _ in range(self._SPINS)
        ]
        return median(differences) / (self._LONG - self._SHORT)

    def _spin(self, cycles: int) -> float:
        return self._clock.wall(lambda: torch.cuda._sleep(cycles))
