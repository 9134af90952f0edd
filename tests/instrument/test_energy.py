"""Energy of a call: counters that are not there, and a board whose power is known."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paraformer_bench.instrument import energy
from paraformer_bench.instrument.energy import (
    NoMeter,
    NvmlMeter,
    RaplMeter,
    open_meter,
    take_window,
)
from paraformer_bench.study.errors import Unsupported

UUID = "GPU-6a0e1c2b"


class Board:
    """A clock and a meter: power while calls run and while none does, a counter that ticks.

    Calls return their seconds.

    Attributes:
        watts: Power while calls run.
        idle: Power while the counter is looked at.
        tick: Seconds between two updates of the counter; infinity for one that stands still.
        look: Seconds that one look takes.
        queued: Calls made with nobody waiting for the device, at most.
        fault: Raised by the next look.
    """

    def __init__(self, tick: float = 0.05, phase: float = 0.0) -> None:
        self.watts = self.idle = 300.0
        self.tick = tick
        self.look = 0.0
        self.queued = 0
        self.looks = 0
        self.begun = False
        self.fault: Exception | None = None
        self._time = 1000.0
        self._taken = 7.0
        self._shown = 7.0
        self._next = self._time + phase * tick

    def begin(self) -> None:
        self.begun = True

    def now(self) -> float:
        return self._time

    def repeat(self, call: Callable[[], float], times: int) -> float:
        self.queued = max(self.queued, times)
        start = self._time
        for _ in range(times):
            self._pass(call(), self.watts)
        return self._time - start

    def read(self) -> float:
        assert self.begun
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        self._pass(self.look, self.idle)
        return self._shown

    def _pass(self, seconds: float, watts: float) -> None:
        end = self._time + seconds
        while self._next <= end:
            self._taken += watts * (self._next - self._time)
            self._time, self._shown = self._next, self._taken
            self._next += self.tick
        self._taken += watts * (end - self._time)
        self._time = end

    def window(self, seconds: float = 2.0, limit: float = 96.0, each: float = 1e-3) -> Any:
        return take_window(lambda: each, self, self, seconds=seconds, limit=limit)


def test_a_call_of_a_millisecond_at_300_watts_takes_300_millijoules() -> None:
    window = Board().window()
    assert window.joules_per_call == pytest.approx(0.3, rel=0.0025)
    assert window.watts == pytest.approx(300, rel=0.0025)
    assert window.calls == pytest.approx(window.seconds / 1e-3)
    assert 2.0 <= window.seconds < 2.3


@pytest.mark.parametrize("each", [2e-5, 1e-3, 7e-3, 0.03])
@pytest.mark.parametrize("tick", [0.001, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("phase", [0.1, 0.47, 0.93])
def test_both_ends_lie_on_a_tick(each: float, tick: float, phase: float) -> None:
    """Each end is off by a batch of calls at most; off by a tick, 0.1 s would show as 5%."""
    window = Board(tick, phase).window(each=each)
    batch = max(each, 0.005 + 1e-9)
    assert window.joules_per_call == pytest.approx(300 * each, rel=batch / 2.0)


def test_a_call_longer_than_a_tick_is_off_by_a_tick_at_most() -> None:
    window = Board(tick=0.1).window(each=0.25)
    assert window.joules_per_call == pytest.approx(75, rel=0.1 / 2.0)


def test_longer_windows_are_as_long_as_they_should_be() -> None:
    window = Board().window(seconds=7.5)
    assert 7.5 <= window.seconds < 7.8


def test_looking_at_the_counter_costs_little() -> None:
    """The board idles while NVML is asked, for 2 ms: rarely but at the ends."""
    board = Board()
    board.idle, board.look = 70.0, 0.002
    window = board.window()
    assert window.joules_per_call == pytest.approx(0.3, rel=0.01)
    assert board.looks < 80


def test_the_queue_is_bounded() -> None:
    board = Board()
    board.window(each=1e-6)
    assert board.queued <= 10_000
    board = Board()
    board.window(each=1e-3)
    assert board.queued <= 200


def test_power_while_clocks_settle_does_not_count() -> None:
    board = Board()
    calls: list[None] = []

    def call() -> float:
        calls.append(None)
        board.watts = 100.0 if len(calls) < 900 else 300.0
        return 1e-3

    window = take_window(call, board, board, seconds=2.0, limit=96.0)
    assert window.joules_per_call == pytest.approx(0.3, rel=0.0025)


def test_a_counter_that_stands_still_is_given_up() -> None:
    board = Board(tick=float("inf"))
    with pytest.raises(Unsupported, match="the energy counter did not move within 1 s"):
        board.window()
    assert board.now() < 1000 + 2.1


def test_a_counter_that_stops_amid_a_window_is_given_up() -> None:
    board = Board()

    def call() -> float:
        if board.now() > 1002:
            board._next = float("inf")
        return 1e-3

    with pytest.raises(Unsupported, match="did not move"):
        take_window(call, board, board, seconds=2.0, limit=96.0)
    assert board.now() < 1000 + 4.2


def test_a_counter_that_goes_backwards_is_no_energy() -> None:
    board = Board()

    def call() -> float:
        if board.now() > 1002:
            board._taken = board._shown = 0.0  # the driver was loaded again
        return 1e-3

    with pytest.raises(Unsupported, match="the energy counter went backwards"):
        take_window(call, board, board, seconds=2.0, limit=96.0)


@pytest.mark.parametrize("error", [MemoryError("none left"), RuntimeError("sticky")])
def test_what_a_call_raises_comes_through(error: Exception) -> None:
    board = Board()

    def call() -> float:
        if board.now() > 1002:
            raise error
        return 1e-3

    with pytest.raises(type(error), match=str(error)):
        take_window(call, board, board, seconds=2.0, limit=96.0)


def test_a_meter_that_fails_amid_a_window_comes_through() -> None:
    board = Board()

    def call() -> float:
        if board.now() > 1002:
            board.fault = Unsupported("NVML reads no energy: GPU is lost")
        return 1e-3

    with pytest.raises(Unsupported, match="GPU is lost"):
        take_window(call, board, board, seconds=2.0, limit=96.0)


def test_calls_too_slow_for_the_timeout_are_given_up_before_it() -> None:
    board = Board()
    with pytest.raises(Unsupported, match=r"within timeout_seconds: a call takes 30 s"):
        board.window(limit=96.0, each=30.0)
    assert board.now() <= 1000 + 96


def test_calls_as_slow_as_the_limit_allows_are_measured() -> None:
    window = Board().window(limit=96.0, each=20.0)
    assert window.joules_per_call == pytest.approx(6000, rel=0.1 / 20)


# NVML


class NVMLError(Exception):
    """As pynvml names it."""


def nvml(*readings: int | Exception) -> SimpleNamespace:
    """A driver that knows one GPU and shows these millijoules, one look after the other."""
    left = list(readings)

    def total(handle: str) -> int:
        assert handle == "handle"
        value = left.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    def handle(uuid: str) -> str:
        if uuid != UUID:
            raise NVMLError("Not Found")
        return "handle"

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


def test_nvml_counts_in_millijoules() -> None:
    meter = NvmlMeter(UUID, nvml(5_000, 1_234_567))
    meter.begin()
    assert meter.read() == 1_234.567


def test_a_gpu_without_a_counter_says_so_at_once() -> None:
    with pytest.raises(Unsupported, match=f"NVML reads no energy of {UUID}: Not Supported"):
        NvmlMeter(UUID, nvml(NVMLError("Not Supported")))


def test_a_gpu_that_is_lost_later_says_so() -> None:
    meter = NvmlMeter(UUID, nvml(5_000, NVMLError("GPU is lost")))
    with pytest.raises(Unsupported, match="GPU is lost"):
        meter.read()


def test_a_gpu_that_nvml_does_not_know() -> None:
    with pytest.raises(Unsupported, match="GPU-other: Not Found"):
        NvmlMeter("GPU-other", nvml(1))


def test_opening_picks_the_gpu_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(5_000, 6_000))
    meter = open_meter(UUID)
    assert meter.read() == 6.0
    assert (meter.source, meter.reason) == ("NVML", None)


def test_opening_says_why_a_gpu_has_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(NVMLError("Not Supported")))
    meter = open_meter(UUID)
    assert isinstance(meter, NoMeter)
    reason = f"NVML reads no energy of {UUID}: Not Supported"
    assert (meter.source, meter.reason) == (None, reason)


def test_opening_without_pynvml_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any) -> Any:
        if name == "pynvml":
            raise ImportError("No module named 'pynvml'")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    meter = open_meter(UUID)
    assert isinstance(meter, NoMeter)
    assert meter.reason == "nvidia-ml-py is not installed: No module named 'pynvml'"


# RAPL

RANGE = 65_532_610_987


class Powercap:
    """A folder like Linux's, with zones that tests fill."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def zone(self, zone: str, name: str, microjoules: int, most: int = RANGE) -> None:
        folder = self.root / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{most}\n")
        self.show(zone, microjoules)

    def show(self, zone: str, microjoules: int) -> None:
        (self.root / zone / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Powercap:
    return Powercap(tmp_path / "powercap")


def test_whole_packages_are_added_up_and_nothing_else(powercap: Powercap) -> None:
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1-die-0",
        "intel-rapl:1:0": "package-core",  # a part, whatever its name
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for zone, name in zones.items():
        powercap.zone(zone, name, 1_000_000)
    (powercap.root / "intel-rapl").mkdir()  # the control type itself
    meter = RaplMeter(powercap.root)
    meter.begin()
    for number, zone in enumerate(zones):
        powercap.show(zone, 1_000_000 + 10**number)
    assert meter.read() == pytest.approx((10**0 + 10**3) / 1e6)
    assert meter.source == "RAPL"


def test_a_counter_that_starts_anew_goes_on(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", RANGE - 3_000_000)
    meter = RaplMeter(powercap.root)
    meter.begin()
    powercap.show("intel-rapl:0", RANGE - 1_000_000)
    assert meter.read() == pytest.approx(2.0)
    powercap.show("intel-rapl:0", 4_000_000)
    assert meter.read() == pytest.approx(7.0)
    powercap.show("intel-rapl:0", 5_000_000)
    assert meter.read() == pytest.approx(8.0)


def test_packages_start_anew_each_at_its_own_range(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 9_000_000, most=10_000_000)
    powercap.zone("intel-rapl:1", "package-1", 19_000_000, most=20_000_000)
    meter = RaplMeter(powercap.root)
    meter.begin()
    powercap.show("intel-rapl:0", 1_000_000)
    powercap.show("intel-rapl:1", 2_000_000)
    assert meter.read() == pytest.approx(2 + 3)


def test_a_package_that_goes_backwards_is_no_energy(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "package-0", 5_000_000)
    meter = RaplMeter(powercap.root)
    meter.begin()
    powercap.show("intel-rapl:0", 4_000_000)
    with pytest.raises(Unsupported, match="energy_uj went backwards"):
        meter.read()


def test_what_happened_before_a_window_does_not_matter(powercap: Powercap) -> None:
    """Between two windows the counter may have started anew, more than once."""
    powercap.zone("intel-rapl:0", "package-0", 5_000_000)
    meter = RaplMeter(powercap.root)
    powercap.show("intel-rapl:0", 4_000_000)
    meter.begin()
    assert meter.read() == 0.0


def test_a_machine_without_power_counters(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"shows no power counters: .*/none is not there"):
        RaplMeter(tmp_path / "none")


def test_a_machine_without_packages(powercap: Powercap) -> None:
    powercap.zone("intel-rapl:0", "psys", 1)
    with pytest.raises(Unsupported, match="no CPU package has an energy counter in "):
        RaplMeter(powercap.root)


def test_a_counter_for_root_alone_is_named(
    powercap: Powercap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, whom nothing is denied: the refusal is played."""
    powercap.zone("intel-rapl:0", "package-0", 1)
    real = Path.read_text

    def read_text(path: Path) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(energy, "POWERCAP", powercap.root)
    meter = open_meter(None)
    assert isinstance(meter, NoMeter)
    assert meter.reason == f"permission denied on {powercap.root}/intel-rapl:0/energy_uj"


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("energy_uj", "", "cannot read .*energy_uj: invalid literal"),
        ("max_energy_range_uj", "0", "does not say where its counter starts anew"),
        ("max_energy_range_uj", None, "cannot read .*max_energy_range_uj: No such file"),
        ("name", None, "cannot read .*name: No such file"),
    ],
)
def test_a_broken_zone_says_what_is_wrong(
    powercap: Powercap, file: str, text: str | None, reason: str
) -> None:
    powercap.zone("intel-rapl:0", "package-0", 1)
    path = powercap.root / "intel-rapl:0" / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(Unsupported, match=reason):
        RaplMeter(powercap.root)


def test_a_cpu_s_meter_is_opened(powercap: Powercap, monkeypatch: pytest.MonkeyPatch) -> None:
    powercap.zone("intel-rapl:0", "package-0", 1_000_000)
    monkeypatch.setattr(energy, "POWERCAP", powercap.root)
    meter = open_meter(None)
    powercap.show("intel-rapl:0", 3_500_000)
    assert meter.read() == pytest.approx(2.5)
    assert (meter.source, meter.reason) == ("RAPL", None)
