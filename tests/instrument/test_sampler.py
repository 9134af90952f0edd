"""When warm-up and sampling stop, on a clock that tests set by hand."""

from __future__ import annotations

import gc
import itertools
import math
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from paraformer_bench.instrument.sampler import take_slice, warm_up


def call_of(times: Iterable[float]) -> Callable[[], float]:
    """A call that takes the given times, one after the other, and the last for ever."""
    times = list(times)
    following = itertools.chain(times, itertools.repeat(times[-1]))
    return lambda: next(following)


def noise(seconds: float, size: int) -> list[float]:
    """Times of a call that take up to three times ``seconds``."""
    rng = random.Random(0)
    return [seconds * rng.uniform(1, 3) for _ in range(size)]


def take(clock: Any, call: Callable[[], float], **changes: Any) -> Any:
    settings: dict[str, Any] = {"seconds": 1.0, "earlier": [], "target": 0.01}
    return take_slice(call, clock, **settings | changes)


# Warm-up


def test_warm_up_stops_once_two_windows_of_five_agree(clock: Any) -> None:
    assert warm_up(lambda: 0.01, clock, seconds=10) == [0.01] * 10


def test_warm_up_goes_on_while_calls_get_faster(clock: Any) -> None:
    """Each of 20 calls takes 5% less, then nothing changes: settled five calls later at most."""
    falling = [0.01 * 0.95**i for i in range(20)]
    times = warm_up(call_of(falling), clock, seconds=10)
    assert times[:20] == falling
    assert 23 <= len(times) <= 30


def test_one_hiccup_does_not_delay_warm_up(clock: Any) -> None:
    times = [0.01] * 10
    times[3] = times[8] = 0.5
    assert len(warm_up(call_of(times), clock, seconds=10)) == 10


def test_a_change_of_three_percent_is_not_settled(clock: Any) -> None:
    step = [0.01] * 5 + [0.0103] * 5
    assert len(warm_up(call_of(step), clock, seconds=10)) > 10


def test_warm_up_ends_with_its_time(clock: Any) -> None:
    times = warm_up(call_of([0.01 * 0.9**i for i in range(60)]), clock, seconds=0.05)
    assert sum(times[:-1]) < 0.05 <= sum(times)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_warm_up_makes_at_least_one_call(clock: Any, seconds: float) -> None:
    assert warm_up(lambda: 30.0, clock, seconds=seconds) == [30.0]


# Sampling


def test_a_slice_stops_at_ten_samples_when_they_agree(clock: Any) -> None:
    result = take(clock, lambda: 0.01)
    assert result.wall == [0.01] * 10
    assert clock.calls == 11  # the first is untimed


def test_a_slice_that_never_converges_stops_at_its_time(clock: Any) -> None:
    start = clock.now()
    result = take(clock, call_of(noise(0.01, 1_000)))
    assert clock.now() - start >= 1.0
    assert clock.now() - start - result.wall[-1] < 1.0


def test_looks_come_after_ten_samples_and_then_each_quarter_more(clock: Any) -> None:
    """The time settles after 100 calls; the looks are at 10, 13, 17, 22, 28, 35, 44, ..."""
    looks = [10]
    while looks[-1] < 5_000:
        looks.append(math.ceil(looks[-1] * 1.25))
    result = take(clock, call_of([*noise(0.001, 100), 0.001]), target=0.02, seconds=60)
    assert len(result.wall) in looks
    assert 100 < len(result.wall) < 5_000


def test_a_sample_is_taken_even_when_it_takes_longer_than_the_slice(clock: Any) -> None:
    result = take(clock, lambda: 30.0, earlier=[30.0])
    assert result.wall == [30.0]
    assert clock.calls == 1


@pytest.mark.parametrize(
    ("earlier", "untimed"),
    [([], 1), ([0.249] * 3, 1), ([0.25] * 3, 0), ([9.0], 0), ([0.1, 0.1, 9.0], 1)],
)
def test_slow_calls_are_not_made_untimed(clock: Any, earlier: list[float], untimed: int) -> None:
    result = take(clock, lambda: 0.3, earlier=earlier)
    assert clock.calls - len(result.wall) == untimed


def test_earlier_rounds_count_towards_the_interval(clock: Any) -> None:
    """Ten samples that agree do not settle what earlier rounds left open."""
    wide = [0.01, 0.02] * 10
    assert len(take(clock, lambda: 0.01, earlier=wide).wall) > 10
    assert len(take(clock, lambda: 0.01, earlier=[0.01] * 20).wall) == 10


def test_busy_time_is_every_call_and_nothing_else(clock: Any) -> None:
    clock.device_seconds = 0.004
    times = [0.5, *(0.01 * i for i in range(1, 40))]
    result = take(clock, call_of(times), seconds=0.8)
    assert result.device == [0.004] * len(result.wall)
    assert result.busy == pytest.approx(0.5 + sum(result.wall) + sum(result.device))


def test_device_samples_alternate_with_wall_samples(clock: Any) -> None:
    clock.device_seconds = 0.002
    clock.dry = True
    result = take(clock, call_of([9.0, 0.01, 0.02, 0.03, 0.04]), seconds=9.1)
    assert result.wall == [0.01, 0.03]
    assert result.device == [0.002, 0.002]
    assert result.dry == 2


def test_a_device_without_a_clock_gives_no_device_samples(clock: Any) -> None:
    result = take(clock, lambda: 0.01)
    assert result.device == []
    assert result.dry == 0


# Python's garbage collector


@pytest.fixture(autouse=True)
def collector() -> Any:
    assert gc.isenabled()
    yield
    gc.enable()


def test_the_collector_is_off_during_calls_and_on_afterwards(clock: Any) -> None:
    seen = set()

    def call() -> float:
        seen.add(gc.isenabled())
        return 0.01

    take(clock, call)
    assert seen == {False}
    assert gc.isenabled()


def test_the_collector_is_restored_when_a_call_raises(clock: Any) -> None:
    def call() -> float:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        take(clock, call)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(clock: Any) -> None:
    gc.disable()
    take(clock, lambda: 0.01)
    assert not gc.isenabled()
