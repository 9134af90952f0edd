"""What is known about one curve on one basis: an entry of `verdicts.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from paraformer_bench.analysis.curve import Exponent, Ratio, Rise
from paraformer_bench.study.case import method_name


@dataclass(frozen=True)
class Missing:
    """A depth that was asked for and has no time, with the worst status of its records."""

    depth: int
    status: str
    reason: str


@dataclass(frozen=True)
class Speedup:
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


@dataclass(frozen=True)
class Recount:
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


@dataclass(frozen=True)
class Verdict:
    """The verdict about one curve on one basis.

    The fields up to ``scope`` are `Case`'s without the depth, those from ``verdict`` to
    ``blocks_to_settle`` are `CurveJudgement`'s. `speedup` is empty where the group has no
    serial net under the same runtime; ``flags`` is the union over the curve's records;
    ``without_flagged`` is null where none of them spoils a time (`record.SPOILING`);
    ``devices`` is `Case.devices`.
    """

    curve_id: str
    model: str
    execution: str
    runtime: str
    width: int
    batch: int
    tokens: int
    image: int
    patch: int
    heads: int
    branch_depth: int
    dtype: str
    device: str
    mode: str
    scope: str
    basis: str
    margin: float
    confidence: float
    verdict: str
    reason: str
    depths: tuple[int, ...]
    constant_up_to: int
    ratios: tuple[Ratio, ...]
    worst: Rise | None
    exponent: Exponent | None
    blocks: int
    blocks_to_settle: int | None
    missing: tuple[Missing, ...]
    speedup: tuple[Speedup, ...]
    flags: tuple[str, ...]
    without_flagged: Recount | None = None
    devices: int = 1

    @property
    def differs_without_flagged(self) -> bool:
        """Whether the verdict, or where constancy ends, is another one without flagged records."""
        other = self.without_flagged
        if other is None or other.verdict is None:
            return False
        return (other.verdict, other.constant_up_to) != (self.verdict, self.constant_up_to)

    @property
    def method(self) -> str:
        """Who was measured, as in `Case.method`."""
        return method_name(self.model, self.execution, self.runtime, self.devices)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of ``verdicts.json``: the fields, ``worst`` with `from` and `to`."""
        data = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        data["worst"] = _pair(self.worst)
        if self.without_flagged is not None:
            data["without_flagged"] = asdict(self.without_flagged) | {
                "worst": _pair(self.without_flagged.worst)
            }
        return data


def _pair(rise: Rise | None) -> dict[str, Any] | None:
    """A pair of depths as the file names it: ``from`` and ``to``."""
    if rise is None:
        return None
    held = asdict(rise)
    return {"from": held.pop("shallow"), "to": held.pop("deep"), **held}
