"""Energy of a call: counters of joules, and a window of calls between two ticks of one.

Counters are updated now and then: NVML's every 20 to 100 ms (PETSc, manual page of
``PetscLogGpuEnergyMeter``), RAPL's about every millisecond (Intel, Software Developer's Manual,
volume 3, "RAPL Interfaces"). A window therefore lasts seconds, and begins and ends when the
counter has just moved. No torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from paraformer_bench.instrument.meters import find_gpu
from paraformer_bench.study.errors import Unsupported

if TYPE_CHECKING:
    from paraformer_bench.instrument.clock import Call, Clock

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of CPUs, AMD's too."""

_LEAD_SECONDS = 1.0
"""Calls before a window: by then clocks have left idling, and power averaged over a second too."""
_FINE_SECONDS = 0.005
"""Calls between two looks at the counter while a tick is awaited."""
_COARSE_SECONDS = 0.2
"""Calls between two looks in the middle of a window: the device waits during each."""
_PATIENCE_SECONDS = 1.0
"""A counter that has not moved by then does not move."""
_MOST_QUEUED = 10_000
_BACKWARDS = 0.5
"""Share of a counter's range: a step between two looks that seems longer was one back."""


@dataclass(frozen=True)
class NoMeter:
    """Stands in where no energy can be read, and says why."""

    reason: str
    source: None = None


class NvmlMeter:
    """What one GPU has taken since its driver was loaded (Volta and newer), memory included.

    Raises:
        Unsupported: NVML is not there, or the GPU has no such counter.
    """

    source, reason = "NVML", None

    def __init__(self, uuid: str, nvml: Any) -> None:
        self._uuid = uuid
        self._nvml = nvml
        self._handle = find_gpu(uuid, nvml)
        self.read()

    def begin(self) -> None:
        """Nothing: the counter has 64 bits and does not start anew."""

    def read(self) -> float:
        """Joules, counted in thousandths."""
        try:
            millijoules: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            raise Unsupported(f"NVML reads no energy of {self._uuid}: {error}") from None
        return millijoules / 1e3


class RaplMeter:
    """What the CPU packages of this machine have taken together, whoever used them.

    Linux shows a zone for each package (``intel-rapl:0``, named ``package-0``), zones for parts of
    it (``intel-rapl:0:0``) and on some machines one for the whole platform (named ``psys``); only
    packages are added up (kernel documentation, "Power Capping Framework"). The counter of each
    starts anew at a range of its own.

    Raises:
        Unsupported: There are no packages, or their counters cannot be read.
    """

    source, reason = "RAPL", None

    def __init__(self, root: Path) -> None:
        if not os.path.isdir(root):
            raise Unsupported(f"this machine shows no power counters: {root} is not there")
        zones = [zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1]
        packages = [zone for zone in sorted(zones) if _text(zone / "name").startswith("package")]
        if not packages:
            raise Unsupported(f"no CPU package has an energy counter in {root}")
        self._ranges: dict[Path, int] = {}
        for zone in packages:
            self._ranges[zone / "energy_uj"] = most = _number(zone / "max_energy_range_uj")
            if most <= 0:
                raise Unsupported(f"{zone} does not say where its counter starts anew")
        self.begin()

    def begin(self) -> None:
        """Start the sum at zero."""
        self._last = {counter: _number(counter) for counter in self._ranges}
        self._microjoules = 0

    def read(self) -> float:
        """Joules since `begin`, counted in millionths."""
        for counter, most in self._ranges.items():
            now = _number(counter)
            step = (now - self._last[counter]) % most
            if step > _BACKWARDS * most:
                raise Unsupported(f"{counter} went backwards")
            self._last[counter] = now
            self._microjoules += step
        return self._microjoules / 1e6


Meter = NvmlMeter | RaplMeter
"""A counter of the energy that a device has taken.

``begin`` starts a window: what the counter did before does not matter. ``read`` returns joules, of
which only differences within a window mean something. Both raise `Unsupported` when the counter
cannot be read any more. ``source`` is what is read, as people call it.
"""


def open_meter(uuid: str | None) -> Meter | NoMeter:
    """Return the meter of the GPU with ``uuid``, of the CPU if None, or why there is none."""
    try:
        if uuid is None:
            return RaplMeter(POWERCAP)
        import pynvml  # type: ignore[import-untyped, unused-ignore]

        return NvmlMeter(uuid, pynvml)
    except ImportError as error:
        return NoMeter(f"nvidia-ml-py is not installed: {error}")
    except Unsupported as error:
        return NoMeter(str(error))


@dataclass(frozen=True)
class Window:
    """Calls back to back between two ticks of the counter; ``joules`` include idle power."""

    seconds: float
    calls: int
    joules: float

    @property
    def joules_per_call(self) -> float:
        """Energy of one call: nothing is subtracted."""
        return self.joules / self.calls

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


def take_window(call: Call, clock: Clock, meter: Meter, *, seconds: float, limit: float) -> Window:
    """Call back to back for at least ``seconds`` and see what the device took meanwhile.

    The device is waited for after every batch of calls, and only then is the counter looked at:
    rarely in the middle, often at both ends, where a tick is awaited. What a tick has counted is
    known to belong to the calls made, up to one such batch. All of this takes ``limit`` seconds
    at most.

    Raises:
        Unsupported: The counter stands still, goes backwards or cannot be read any more, or the
            calls are too slow for ``limit``.
    """
    meter.begin()
    load = _Load(call, clock, meter, clock.now() + limit)
    warm = clock.now() + _LEAD_SECONDS
    while clock.now() < warm:
        load.run(_FINE_SECONDS)
    begin = load.tick()
    while (left := begin.moment + seconds - clock.now()) > 0:
        load.run(min(left, _COARSE_SECONDS))
        load.look()
    end = load.tick()
    return Window(end.moment - begin.moment, end.calls - begin.calls, end.joules - begin.joules)


class _Look(NamedTuple):
    """The counter at a moment, and the calls that were done by then."""

    moment: float
    calls: int
    joules: float


@dataclass
class _Load:
    """Keeps the device busy with one call, and watches the counter."""

    call: Call
    clock: Clock
    meter: Meter
    deadline: float
    calls: int = 0
    each: float = 0.0  # seconds of one call
    joules: float = float("-inf")

    def run(self, seconds: float) -> None:
        """Call for about ``seconds``, at least once, and wait for the device."""
        if self.clock.now() + self.each > self.deadline:
            raise Unsupported(
                f"no room for an energy window within timeout_seconds: "
                f"a call takes {self.each:.3g} s"
            )
        count = int(seconds / self.each) if self.each else 1
        count = min(max(count, 1), _MOST_QUEUED)
        self.each = self.clock.repeat(self.call, count) / count
        self.calls += count

    def look(self) -> _Look:
        """Look at the counter, which must not have gone backwards."""
        moment = self.clock.now()
        before, self.joules = self.joules, self.meter.read()
        if self.joules < before:
            raise Unsupported("the energy counter went backwards")
        return _Look(moment, self.calls, self.joules)

    def tick(self) -> _Look:
        """Go on until the counter moves."""
        before = self.look()
        while self.clock.now() - before.moment < _PATIENCE_SECONDS:
            self.run(_FINE_SECONDS)
            look = self.look()
            if look.joules > before.joules:
                return look
        raise Unsupported(f"the energy counter did not move within {_PATIENCE_SECONDS:g} s")


def _number(path: Path) -> int:
    try:
        return int(_text(path))
    except ValueError as error:
        raise Unsupported(f"cannot read {path}: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:
        raise Unsupported(f"permission denied on {path}") from None
    except OSError as error:
        raise Unsupported(f"cannot read {path}: {error.strerror}") from None
