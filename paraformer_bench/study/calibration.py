"""How well the instrument reads delays whose length is known."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from paraformer_bench.study import wire
from paraformer_bench.study.case import Fields
from paraformer_bench.study.ceilings import Place

DELAYS = (50e-6, 200e-6, 1e-3, 10e-3)
"""Seconds of the delays that are injected."""

RELATIVE = 0.01
ABSOLUTE = {"wall": 2e-6, "device": 5e-6}
"""By how much a reading may be off and still be good: as a share, or in seconds by basis.

CUDA events also see a kernel being started and its end being noted, a few microseconds that belong
to every call and that the truth, the difference of two spins, leaves out. That 5 us are enough
was not seen on a GPU yet.
"""

_Delay = Annotated[float, Meta(ge=1e-9, le=1e6)]


class Reading(Struct, frozen=True):
    """One delay as the instrument read it.

    Attributes:
        basis: ``wall`` or ``device``, as in a verdict.
        asked_seconds: How long the delay was meant to be.
        true_seconds: Median of how long it was.
        measured_seconds: Median of the samples.
        samples: How many there are.
    """

    basis: Literal["wall", "device"]
    asked_seconds: _Delay
    true_seconds: _Delay
    measured_seconds: _Delay
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


class Calibration(Struct, frozen=True):
    """The readings of one device on one day.

    Attributes:
        date: ISO time in UTC.
        host: As in `ceilings.Place`; so are the next three.
        package: Version of this package.
        readings: In the order of the delays, wall before device.
    """

    date: str
    host: str
    device: str
    device_name: str
    torch: str
    package: str
    readings: Annotated[tuple[Reading, ...], Meta(min_length=1)]

    @property
    def place(self) -> Place:
        """What it holds for."""
        return Place(self.host, self.device, self.device_name, self.torch)

    @property
    def basis(self) -> str:
        """The basis that decides verdicts here: device time where there is one."""
        return "device" if any(r.basis == "device" for r in self.readings) else "wall"

    @property
    def good(self) -> bool:
        """Whether every reading of the deciding basis is within the tolerance."""
        return all(r.within for r in self.readings if r.basis == self.basis)

    def plain(self) -> Fields:
        """Return what ``run.json`` holds: the fields, and what follows from them for readers."""
        fields: Fields = wire.plain(self)
        for reading, said in zip(self.readings, fields["readings"], strict=True):
            said |= {
                "difference_seconds": reading.difference,
                "difference_share": reading.share,
                "within": reading.within,
            }
        tolerance = {"relative": RELATIVE, "absolute_seconds": ABSOLUTE[self.basis]}
        return fields | {"tolerance": tolerance}
