"""What a device can do at best, as it was measured: the limits that times are held against."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

FRESH = timedelta(days=7)
"""Age up to which ceilings are taken as those of today: drivers, clocks and neighbours change."""

_MOST = 1e300
_Positive = Annotated[float, Meta(gt=0, lt=_MOST)]


class Place(Struct, frozen=True):
    """What ceilings and calibrations hold for.

    Attributes:
        host: Name of the machine.
        device: ``cpu`` or ``cuda:N``.
        device_name: Name of the hardware.
        torch: Version of PyTorch.
    """

    host: str
    device: str
    device_name: str
    torch: str


class Copy(Struct, frozen=True):
    """How fast a copy goes.

    Attributes:
        footprint_bytes: Memory that is touched: source and destination together.
        bytes_per_second: Bytes read and written.
    """

    footprint_bytes: int
    bytes_per_second: _Positive


class Product(Struct, frozen=True):
    """How long one product of two square matrices takes.

    Attributes:
        dtype: Precision, one of `case.DTYPES`.
        flops: Operations; a multiply-add counts two.
        seconds: Of one call: on a CPU as its caller sees it, on a GPU without the launch.
    """

    dtype: str
    flops: int
    seconds: _Positive


class Limits(Struct, frozen=True, kw_only=True):
    """What one measurement of a device finds.

    Attributes:
        copies: By ascending footprint, from what a cache holds to what it cannot.
        products: By precision, then ascending size.
        launch_seconds: Host time of one eager operation too small to take any time by itself.
        node_seconds: Device time that one more node adds to a CUDA graph; null on a CPU.
        sync_seconds: Host time of waiting for a device that is idle; 0 on a CPU, which is the
            host.
        flags: What disturbed the measurement, names from `record.FLAGS`.
    """

    copies: Annotated[tuple[Copy, ...], Meta(min_length=1)]
    products: Annotated[tuple[Product, ...], Meta(min_length=1)]
    launch_seconds: _Positive
    node_seconds: _Positive | None
    sync_seconds: Annotated[float, Meta(ge=0, lt=_MOST)]
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        copies = sorted(self.copies, key=lambda copy: copy.footprint_bytes)
        products = sorted(self.products, key=lambda product: (product.dtype, product.flops))
        force_setattr(self, "copies", tuple(copies))
        force_setattr(self, "products", tuple(products))


class Ceilings(Limits, frozen=True, kw_only=True):
    """The limits of one device on one day.

    Attributes:
        date: ISO time in UTC.
        host: As in `Place`; so are the next three.
        package: Version of this package.
        missing: Precisions that were asked for and that the device does not have.
    """

    date: str
    host: str
    device: str
    device_name: str
    torch: str
    package: str
    missing: tuple[str, ...] = ()

    @property
    def place(self) -> Place:
        """What they hold for."""
        return Place(self.host, self.device, self.device_name, self.torch)

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
