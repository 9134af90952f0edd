"""When to start sampling and when to stop. Pure logic over a `Clock`; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median, stdev
from typing import TYPE_CHECKING

from paraformer_bench.study.garbage import nothing_collected

if TYPE_CHECKING:
    from paraformer_bench.instrument.clock import Call, Clock

_WINDOW = 5
_SETTLED = 0.02
_SLICE_SAMPLES = 10
_LOOK_GROWTH = 1.25
_BATCHES = 10
# Two-sided 95% quantiles of Student's t for 2 to 9 degrees of freedom.
_T975 = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass
class Slice:
    """Samples of one case in one round.

    Attributes:
        wall: Host-clock seconds of each call.
        device: Device seconds of further calls, one after each wall sample; empty on a CPU.
        dry: Device samples during which the queue may have run dry.
        busy: Seconds spent in calls, timed or not.
    """

    wall: list[float] = field(default_factory=list)
    device: list[float] = field(default_factory=list)
    dry: int = 0
    busy: float = 0.0


def warm_up(call: Call, clock: Clock, seconds: float) -> list[float]:
    """Call until two windows of 5 calls have medians within 2%, or ``seconds`` have passed.

    Returns:
        Wall seconds of every call made, of which there is at least one.
    """
    times: list[float] = []
    start = clock.now()
    while not times or (clock.now() - start < seconds and not _settled(times)):
        times.append(clock.wall(call))
    return times


def take_slice(
    call: Call,
    clock: Clock,
    *,
    seconds: float,
    earlier: Sequence[float],
    target: float,
) -> Slice:
    """Sample one case for one round.

    A first call is untimed, to bring back what other cases drove out of the caches (not for a
    call too slow to notice). Then samples are taken until ``seconds`` have passed, or until
    there are 10 and the relative half-width of the 95% interval over all rounds, with the
    ``earlier`` wall samples, is at most ``target``. It is looked at after 10 samples and then
    whenever there are a quarter more: a look takes longer the more samples there are, and every
    look is a chance to stop by luck. One sample is always taken.
    """
    result = Slice()
    look = _SLICE_SAMPLES
    start = clock.now()
    with nothing_collected():
        if not earlier or median(earlier) < seconds / 4:
            result.busy += clock.wall(call)
        while True:
            result.wall.append(clock.wall(call))
            result.busy += result.wall[-1]
            timed = clock.device(call)
            if timed is not None:
                result.device.append(timed.seconds)
                result.dry += timed.dry
                result.busy += timed.seconds
            if clock.now() - start >= seconds:
                return result
            if len(result.wall) >= look:
                if relative_half_width([*earlier, *result.wall]) <= target:
                    return result
                look = math.ceil(look * _LOOK_GROWTH)


def relative_half_width(samples: Sequence[float]) -> float:
    """Half-width of the 95% interval of the typical time, relative to it; inf if unknowable.

    Neighbouring samples are correlated, so the interval is taken over the medians of up to 10
    consecutive batches (the method of nonoverlapping batch means, with medians; Law, Simulation
    Modeling and Analysis, chapter 9), not over the samples.
    """
    count = min(_BATCHES, max(3, len(samples) // 2))
    if len(samples) < count:
        return float("inf")
    edges = [len(samples) * i // count for i in range(count + 1)]
    medians = [median(samples[a:b]) for a, b in pairwise(edges)]
    return _T975[count - 3] * stdev(medians) / math.sqrt(count) / mean(medians)


def _settled(times: Sequence[float]) -> bool:
    if len(times) < 2 * _WINDOW:
        return False
    before, after = median(times[-2 * _WINDOW : -_WINDOW]), median(times[-_WINDOW:])
    return abs(after / before - 1) <= _SETTLED
