"""A host and a device that are not there: time and memory that tests set by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paraformer_bench.instrument import clock as clock_module
from paraformer_bench.instrument.clock import DeviceSample
from paraformer_bench.instrument.memory import Peak
from paraformer_bench.study.case import Case


class FakeClock:
    """A clock on which a call takes as long as it says: calls return their seconds.

    Attributes:
        time: Now.
        calls: Calls made, timed or not.
        device_seconds: Device time of every call; None for a device without a clock.
        dry: Whether device samples say that the queue ran dry.
    """

    def __init__(self) -> None:
        self.time = 100.0
        self.calls = 0
        self.device_seconds: float | None = None
        self.dry = False

    def now(self) -> float:
        return self.time

    def wall(self, call: Callable[[], Any]) -> float:
        self.calls += 1
        seconds = call()
        seconds = float(seconds) if isinstance(seconds, (int, float)) else 1e-3
        self.time += seconds
        return seconds

    def repeat(self, call: Callable[[], Any], times: int) -> float:
        return sum(self.wall(call) for _ in range(times))

    def device(self, call: Callable[[], Any]) -> DeviceSample | None:
        if self.device_seconds is None:
            return None
        self.wall(call)
        return DeviceSample(self.device_seconds, self.dry)


class FakeMemory:
    """Memory that is full when told so."""

    def __init__(self) -> None:
        self.is_full = False
        self.marks = 0

    def mark(self) -> None:
        self.marks += 1

    def peak(self, call: Callable[[], object]) -> Peak:
        call()
        return Peak(1000, None, {"reserved_bytes": "a test"})

    def full(self) -> bool:
        return self.is_full


class FakeTelemetry:
    """Returns the readings it was given, the last one for ever."""

    def __init__(self, readings: Sequence[dict[str, Any]] = ({},)) -> None:
        self.readings = list(readings)
        self.null_reasons: dict[str, str] = {}

    def read(self) -> dict[str, Any]:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


class FakeHost:
    """A host that nobody else uses."""

    def begin(self) -> None:
        pass

    def read(self) -> dict[str, Any]:
        return {}


CYCLES_PER_SECOND = 0.9e9


class Machine:
    """A host and a device: the host launches kernels, the device runs them one after another.

    Attributes:
        host: The host's time.
        idle_at: When the device will have done all that is queued.
        spins: Cycles of every spin asked for.
        cycles_per_second: How fast the device spins.
        spin_launch: Seconds that the host needs to launch a spin.
        queue: Launches that the device holds; before one more the host waits until one is done.
    """

    def __init__(self) -> None:
        self.host = 5.0
        self.idle_at = 0.0
        self.spins: list[int] = []
        self.cycles_per_second = CYCLES_PER_SECOND
        self.spin_launch = 0.0
        self.queue = 10**9
        self._ends: list[float] = []

    def launch(self, host_seconds: float, device_seconds: float) -> None:
        """Take the host's time to launch a kernel that the device runs when it gets to it."""
        self.host += host_seconds
        if len(self._ends) >= self.queue:
            self.host = max(self.host, self._ends[-self.queue])
        self.idle_at = max(self.idle_at, self.host) + device_seconds
        self._ends.append(self.idle_at)

    def synchronize(self, device: object = None) -> None:
        self.host = max(self.host, self.idle_at)

    def spin(self, cycles: int) -> None:
        self.spins.append(cycles)
        self.launch(self.spin_launch, cycles / self.cycles_per_second)

    def net(self, kernels: int, host: float, device: float) -> Callable[[], None]:
        """A call of several kernels, each with its launch and its run time."""

        def call() -> None:
            for _ in range(kernels):
                self.launch(host, device)

        return call


@dataclass
class Event:
    machine: Machine
    at: float = 0.0

    def record(self) -> None:
        self.at = max(self.machine.host, self.machine.idle_at)

    def query(self) -> bool:
        return self.at <= self.machine.host

    def synchronize(self) -> None:
        self.machine.host = max(self.machine.host, self.at)

    def elapsed_time(self, end: Event) -> float:
        return (end.at - self.at) * 1e3


def simulated(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A `Machine`, in place of CUDA and of the host's clock."""
    machine = Machine()
    cuda = SimpleNamespace(
        Event=lambda enable_timing: Event(machine),
        synchronize=machine.synchronize,
        _sleep=machine.spin,
    )
    monkeypatch.setattr(clock_module, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(perf_counter=lambda: machine.host))
    return machine


def tiny_case(**fields: Any) -> Case:
    """Build a tiny valid case; keyword arguments replace its fields."""
    tiny: dict[str, Any] = {
        "model": "serial",
        "execution": "loop",
        "runtime": "eager",
        "depth": 1,
        "width": 16,
        "batch": 1,
        "image": 16,
        "patch": 8,
        "heads": 1,
        "branch_depth": 1,
        "dtype": "float32",
        "device": "cpu",
    }
    return Case.of(**tiny | fields).check()


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Nets this small are faster without a second thread, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
