"""How well the instrument reads delays whose length is known. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from paraformer_bench.study.ceilings import Place
from paraformer_bench.study.survey import Survey

DELAYS = (50e-6, 200e-6, 1e-3, 10e-3)
"""Seconds of the delays that are injected."""

RELATIVE = 0.01
ABSOLUTE = {"wall": 2e-6, "device": 5e-6}
"""By how much a reading may be off and still be good: as a share, or in seconds by basis.

CUDA events also see a kernel being started and its end being noted, a few microseconds that belong
to every call and that the truth, the difference of two spins, leaves out. That 5 us are enough
was not seen on a GPU yet.
"""


@dataclass(frozen=True)
class CalibrationJob:
    """What the calibrating child is asked to do.

    Attributes:
        device: ``cpu`` or ``cuda:N``.
        delays: Seconds of the delays to inject.
        seconds: Time for the samples of each delay.
        rounds: Times to go through the delays.
    """

    device: str
    delays: tuple[float, ...] = DELAYS
    seconds: float = 1.0
    rounds: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CalibrationJob:
        """Rebuild a job from `to_json`."""
        return cls(**(dict(data) | {"delays": tuple(data["delays"])}))


@dataclass(frozen=True)
class Reading:
    """One delay as the instrument read it.

    Attributes:
        basis: ``wall`` or ``device``, as in a verdict.
        asked_seconds: How long the delay was meant to be.
        true_seconds: Median of how long it was.
        measured_seconds: Median of the samples.
        samples: How many there are.
    """

    basis: str
    asked_seconds: float
    true_seconds: float
    measured_seconds: float
    samples: int

    @property
    def difference(self) -> float:
        """Seconds by which the delay was read too long."""
        return self.measured_seconds - self.true_seconds

    @property
    def share(self) -> float:
        """The difference as a share of the truth."""
        return self.difference / self.true_seconds

    @property
    def within(self) -> bool:
        """Whether the difference is small enough."""
        return abs(self.difference) <= max(RELATIVE * self.true_seconds, ABSOLUTE[self.basis])

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values, the judgement among them."""
        return asdict(self) | {
            "difference_seconds": self.difference,
            "difference_share": self.share,
            "within": self.within,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reading:
        """Rebuild a reading; what follows from the rest is worked out anew.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of the wrong kind.
            ValueError: A value makes no sense.
        """
        asked, true, measured = (
            float(data[f"{name}_seconds"]) for name in ("asked", "true", "measured")
        )
        if not all(1e-9 <= value <= 1e6 for value in (asked, true, measured)):
            raise ValueError("no delay is that short or that long")
        if data["basis"] not in ("wall", "device"):
            raise ValueError("a basis that is neither wall nor device")
        return cls(data["basis"], asked, true, measured, int(data["samples"]))


@dataclass(frozen=True)
class Calibration:
    """The readings of one device on one day.

    Attributes:
        date: ISO time in UTC.
        host: Name of the machine.
        device: ``cpu`` or ``cuda:N``.
        device_name: Name of the hardware.
        torch: Version of PyTorch.
        package: Version of this package.
        readings: In the order of the delays, wall before device.
    """

    date: str
    host: str
    device: str
    device_name: str
    torch: str
    package: str
    readings: tuple[Reading, ...]

    @property
    def place(self) -> Place:
        """What it holds for."""
        return self.host, self.device, self.device_name, self.torch

    @property
    def basis(self) -> str:
        """The basis that decides verdicts here: device time where there is one."""
        return "device" if any(r.basis == "device" for r in self.readings) else "wall"

    @property
    def good(self) -> bool:
        """Whether every reading of the deciding basis is within the tolerance."""
        return all(r.within for r in self.readings if r.basis == self.basis)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {
            "tolerance": {"relative": RELATIVE, "absolute_seconds": ABSOLUTE[self.basis]},
            "readings": [reading.to_json() for reading in self.readings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Rebuild a calibration from `to_json`.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of the wrong kind.
            ValueError: A value makes no sense.
        """
        names = ("date", "host", "device", "device_name", "torch", "package")
        readings = tuple(Reading.from_json(reading) for reading in data["readings"])
        if not readings:
            raise ValueError("no readings")
        return cls(**{name: str(data[name]) for name in names}, readings=readings)


def place_of(survey: Survey, device: str) -> Place:
    """Return the place of a device of this machine."""
    environment = survey.environment
    host, name = environment["host"]["name"], environment["devices"][device]
    return str(host), device, str(name), survey.versions.get("torch", "?")
