"""What others took of the CPU, from counters that are made up."""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from paraformer_bench.instrument import meters
from paraformer_bench.instrument.meters import HostLoad, Spent, flags, read_counters


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Watch one window of 0.5 s on four cores."""

    def watch(needed: int, everybody: float, own: float, stolen: float = 0.0) -> dict[str, Any]:
        monkeypatch.setattr(meters, "usable_cpus", lambda: [0, 1, 2, 3])
        monkeypatch.setattr(meters, "_clock", lambda _: 3e9)
        counters: Iterator[Spent] = iter(
            [
                Spent(0.0, 50.0, 7.0, 1.0),
                Spent(10.0, 100.0, 8.0, 5.0),
                Spent(10.5, 100.0 + everybody, 8.0 + stolen, 5.0 + own),
            ]
        )
        host = HostLoad(needed, lambda: next(counters))
        host.begin()
        return dict(host.read())

    return watch


def test_what_the_worker_took_is_not_of_others(watch: Callable[..., dict[str, Any]]) -> None:
    assert watch(4, everybody=2.0, own=2.0) == {
        "window_seconds": 0.5,
        "others_seconds": 0.0,
        "stolen_seconds": 0.0,
        "cpu_clock_hz": 3e9,
    }
    assert watch(4, everybody=2.0, own=1.5, stolen=0.1)["others_seconds"] == 0.5
    assert watch(4, everybody=2.0, own=1.5, stolen=0.1)["stolen_seconds"] == pytest.approx(0.1)


def test_cores_that_the_worker_does_not_need_are_free_to_others(
    watch: Callable[..., dict[str, Any]],
) -> None:
    """Beside a GPU one core of four is needed: three busy for half a second are 1.5 s."""
    assert watch(1, everybody=2.0, own=0.5)["others_seconds"] == 0.0
    assert watch(1, everybody=2.0, own=0.3)["others_seconds"] == pytest.approx(0.2)
    assert watch(9, everybody=2.0, own=1.0)["others_seconds"] == 1.0


def window(seconds: float, others: float = 0.0, stolen: float = 0.0) -> dict[str, Any]:
    return {
        "window_seconds": seconds,
        "others_seconds": others,
        "stolen_seconds": stolen,
        "cpu_clock_hz": None,
    }


def test_a_quarter_of_a_core_is_too_much() -> None:
    assert flags([window(1.0, others=0.26), window(1.0, others=0.26)]) == []  # ticks can feign it
    assert flags([window(1.0, others=0.3), window(1.0, others=0.3)]) == ["cpu_busy"]
    assert flags([window(1.0, stolen=0.06)]) == []
    assert flags([window(1.0, stolen=0.08)]) == ["cpu_stolen"]


def test_ticks_do_not_flag_short_windows() -> None:
    """In 20 ms one tick of 10 ms looks like half a core."""
    assert flags([window(0.02, others=0.02, stolen=0.01)] * 3) == []
    assert flags([window(0.02, others=0.04)] * 3) == ["cpu_busy"]


def test_one_bad_round_in_three_counts_by_its_length() -> None:
    assert flags([window(1.0, others=0.9), window(1.0), window(1.0)]) == ["cpu_busy"]
    assert flags([window(1.0, others=0.7), window(1.0), window(1.0)]) == []


@pytest.mark.parametrize(("lowest", "found"), [(2.5e9, []), (2.3e9, ["clock_drop"])])
def test_a_clock_that_falls_by_a_fifth(lowest: float, found: list[str]) -> None:
    readings = [window(1.0) | {"cpu_clock_hz": clock} for clock in (3e9, lowest, 2.9e9)]
    assert flags(readings) == found


def test_readings_of_older_runs_have_no_windows() -> None:
    assert flags([{}, {"sm_clock_hz": 1}]) == []


def test_only_usable_cores_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("times", "user nice system idle irq steal")
    every = [times(k, 10 * k, 100 * k, 5, 1000 * k, 0.5 * k) for k in range(4)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: every)
    spent = read_counters([psutil.Process()], [1, 2, 9])
    assert spent.everybody == 3 * 1111
    assert spent.stolen == 1.5


def test_this_system_can_be_read() -> None:
    host = HostLoad(needed=1)
    host.begin()
    sum(range(10**6))
    reading = host.read()
    assert float(reading["window_seconds"] or 0) > 0
    assert 0 <= float(reading["others_seconds"] or 0) < 3600
    assert meters.usable_cpus()
    assert max(meters.usable_cpus()) < (os.cpu_count() or 1) + 1024


@pytest.mark.parametrize("error", [OSError, NotImplementedError, RuntimeError])
def test_a_clock_that_cannot_be_read_is_none(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(percpu: bool) -> None:
        raise error

    monkeypatch.setattr(psutil, "cpu_freq", fail)
    assert meters._clock([0]) is None
    monkeypatch.setattr(psutil, "cpu_freq", lambda percpu: [])
    assert meters._clock([0]) is None
