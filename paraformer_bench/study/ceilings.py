"""What a device can do at best, as it was measured: the limits that times are held against.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

Place = tuple[str, str, str, str]
"""Machine, device, hardware and PyTorch: each needs ceilings and a calibration of its own."""

FRESH = timedelta(days=7)
"""Age up to which ceilings are taken as those of today: drivers, clocks and neighbours change."""


@dataclass(frozen=True)
class CeilingsJob:
    """What the probing child is asked to do.

    Attributes:
        device: ``cpu`` or ``cuda:N``.
        dtypes: Precisions whose products to measure.
    """

    device: str
    dtypes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CeilingsJob:
        """Rebuild a job from `to_json`."""
        return cls(str(data["device"]), tuple(data["dtypes"]))


@dataclass(frozen=True)
class Copy:
    """How fast a copy goes.

    Attributes:
        footprint_bytes: Memory that is touched: source and destination together.
        bytes_per_second: Bytes read and written.
    """

    footprint_bytes: int
    bytes_per_second: float


@dataclass(frozen=True)
class Product:
    """How long one product of two square matrices takes.

    Attributes:
        dtype: Precision, one of `case.DTYPES`.
        flops: Operations; a multiply-add counts two.
        seconds: Of one call: on a CPU as its caller sees it, on a GPU without the launch.
    """

    dtype: str
    flops: int
    seconds: float


@dataclass(frozen=True)
class Ceilings:
    """The limits of one device on one day.

    Attributes:
        date: ISO time in UTC.
        host: Name of the machine.
        device: ``cpu`` or ``cuda:N``.
        device_name: Name of the hardware.
        torch: Version of PyTorch.
        package: Version of this package.
        copies: By ascending footprint, from what a cache holds to what it cannot.
        products: By precision, then ascending size.
        launch_seconds: Host time of one eager operation too small to take any time by itself.
        node_seconds: Device time that one more node adds to a CUDA graph; null on a CPU.
        sync_seconds: Host time of waiting for a device that is idle; 0 on a CPU, which is the
            host.
        flags: What disturbed the measurement, names from `record.FLAGS`.
        missing: Precisions that were asked for and that the device does not have.
    """

    date: str
    host: str
    device: str
    device_name: str
    torch: str
    package: str
    copies: tuple[Copy, ...]
    products: tuple[Product, ...]
    launch_seconds: float
    node_seconds: float | None
    sync_seconds: float
    flags: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """What they hold for."""
        return self.host, self.device, self.device_name, self.torch

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Precisions whose products were measured."""
        return tuple(dict.fromkeys(product.dtype for product in self.products))

    def fresh(self, dtypes: Iterable[str], moment: datetime) -> bool:
        """Whether they can stand for those of ``moment`` and cover all of ``dtypes``.

        Ceilings that were disturbed serve the run they were measured for, for want of better ones,
        and no other.
        """
        try:
            age = moment - datetime.fromisoformat(self.date)
        except (TypeError, ValueError):  # no date, or none with a time zone
            return False
        young = timedelta(0) <= age <= FRESH
        return young and not self.flags and set(dtypes) <= {*self.dtypes, *self.missing}

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ceilings:
        """Rebuild ceilings from `to_json`; keys of newer versions are ignored.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of the wrong kind.
            ValueError: A value makes no sense.
        """
        copies = tuple(
            Copy(int(one["footprint_bytes"]), _positive(one["bytes_per_second"]))
            for one in data["copies"]
        )
        products = tuple(
            Product(str(one["dtype"]), int(one["flops"]), _positive(one["seconds"]))
            for one in data["products"]
        )
        if not copies or not products:
            raise ValueError("no copies or no products")
        node = data["node_seconds"]
        return cls(
            date=str(data["date"]),
            host=str(data["host"]),
            device=str(data["device"]),
            device_name=str(data["device_name"]),
            torch=str(data["torch"]),
            package=str(data["package"]),
            copies=tuple(sorted(copies, key=lambda one: one.footprint_bytes)),
            products=tuple(sorted(products, key=lambda one: (one.dtype, one.flops))),
            launch_seconds=_positive(data["launch_seconds"]),
            node_seconds=None if node is None else _positive(node),
            sync_seconds=_not_negative(data["sync_seconds"]),
            flags=tuple(map(str, data.get("flags", ()))),
            missing=tuple(map(str, data.get("missing", ()))),
        )


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{number} is not a positive number")
    return number


def _not_negative(value: Any) -> float:
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{number} is negative or no number")
    return number
