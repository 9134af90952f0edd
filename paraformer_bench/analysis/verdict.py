"""What is known about one curve on one basis: an entry of `verdicts.json`."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from paraformer_bench.analysis.curve import CurveJudgement, Rise
from paraformer_bench.study import wire
from paraformer_bench.study.case import Curve


class Missing(Struct, frozen=True):
    """A depth that was asked for and has no time, with the worst status of its records."""

    depth: int
    status: str
    reason: str


class Speedup(Struct, frozen=True):
    """Time of the serial net over the time of this curve at one depth, paired by block.

    Attributes:
        depth: Depth of both nets.
        ratio: Above 1 the curve is faster than the serial net.
        low: One-sided lower bound; null with fewer than 2 common blocks.
        high: One-sided upper bound; null likewise.
        against: Curve id of the serial net.
    """

    depth: int
    ratio: float
    low: float | None
    high: float | None
    against: str


class Recount(Struct, frozen=True):
    """A verdict without the records whose flags say that their times may be wrong.

    Attributes:
        records: How many of the curve's records were left out.
        blocks: Blocks that are left with at least one time.
        verdict: As in `Verdict`; null where a depth or all but one of the blocks is lost.
        constant_up_to: As in `Verdict`; null likewise.
        worst: As in `Verdict`; null likewise.
    """

    records: int
    blocks: int
    verdict: str | None
    constant_up_to: int | None
    worst: Rise | None


class Verdict(CurveJudgement, frozen=True, kw_only=True):
    """The verdict about one curve on one basis; what is not here is in `CurveJudgement`.

    Attributes:
        curve: Whose.
        basis: ``wall`` or ``device``.
        margin: Growth that still counts as constant.
        confidence: One-sided, of every bound.
        missing: Depths without a time.
        speedup: Empty where the group has no serial net under the same runtime.
        flags: Union over the curve's records.
        without_flagged: Null where no flag spoils a time (`record.SPOILING`).
    """

    curve: Curve
    basis: str
    margin: float
    confidence: float
    missing: tuple[Missing, ...] = ()
    speedup: tuple[Speedup, ...] = ()
    flags: tuple[str, ...] = ()
    without_flagged: Recount | None = None

    @property
    def curve_id(self) -> str:
        """Name of the curve."""
        return self.curve.id

    @property
    def model(self) -> str:
        """The curve's model."""
        return self.curve.method.model

    @property
    def differs_without_flagged(self) -> bool:
        """Whether the verdict, or where constancy ends, is another one without flagged records."""
        other = self.without_flagged
        if other is None or other.verdict is None:
            return False
        return (other.verdict, other.constant_up_to) != (self.verdict, self.constant_up_to)

    def flat(self) -> dict[str, Any]:
        """Return the entry of ``verdicts.json``: the curve's fields, flat, and all others."""
        fields: dict[str, Any] = wire.plain(self)
        del fields["curve"]
        return {"curve_id": self.curve_id} | self.curve.flat() | fields
