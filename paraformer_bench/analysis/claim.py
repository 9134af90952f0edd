"""Records to verdicts: one for every curve and basis, as `verdicts.json` holds them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import asdict

from paraformer_bench.analysis.curve import (
    CONFIDENCE,
    MARGIN,
    CurveJudgement,
    Rise,
    check_rule,
    judge_curve,
    ratio_of,
)
from paraformer_bench.analysis.intervals import Array, means
from paraformer_bench.analysis.medians import BASES, grouped, log_median, worst_of
from paraformer_bench.study import wire
from paraformer_bench.study.case import SERIAL, Curve, Fields, Method
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import SPOILING, Record
from paraformer_bench.study.run_folder import RUN, Run

Cells = dict[tuple[int, int], float]
"""Log medians of one curve and basis: block and depth -> logarithm of seconds."""


class Missing(Struct, frozen=True):
    """A depth that was asked for and has no time, with the worst status of its records."""

    depth: int
    status: str
    reason: str


class Speedup(Struct, frozen=True):
    """Time of the serial net over the time of this curve at one depth, paired by block.

    Above 1 the curve is faster. The bounds are one-sided, null with fewer than 2 common blocks;
    ``against`` is the curve id of the serial net.
    """

    depth: int
    ratio: float
    low: float | None
    high: float | None
    against: str


class Recount(Struct, frozen=True):
    """A verdict without the records whose flags say that their times may be wrong.

    ``records`` were left out, ``blocks`` are left with at least one time. The others are as in
    `Verdict`, null where a depth or all but one of the blocks is lost.
    """

    records: int
    blocks: int
    verdict: str | None
    constant_up_to: int | None
    worst: Rise | None


class Verdict(CurveJudgement, frozen=True, kw_only=True):
    """The verdict about one curve on one basis, ``wall`` or ``device``.

    ``missing`` are the depths without a time, ``speedup`` is empty where the group has no serial
    net under the same runtime, ``flags`` are those of all records of the curve, and
    ``without_flagged`` is null where no flag spoils a time (`record.SPOILING`).
    """

    curve: Curve
    basis: str
    margin: float
    confidence: float
    missing: tuple[Missing, ...]
    speedup: tuple[Speedup, ...]
    flags: tuple[str, ...]
    without_flagged: Recount | None

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

    def flat(self) -> Fields:
        """Return the entry of ``verdicts.json``: the curve's fields, flat, and all others."""
        fields: Fields = wire.plain(self)
        del fields["curve"]
        return {"curve_id": self.curve_id} | self.curve.flat() | fields


def verdict_file(run: Run) -> list[Verdict]:
    """Judge a run with the margin and confidence its suite fixed before it was measured.

    Raises:
        UsageError: The ``[claim]`` in ``run.json`` is out of range or makes no sense: to judge by
            another margin than the suite's would say something that nobody asked.
    """
    claim = run.info.suite.get("claim", {})
    if not isinstance(claim, dict):
        raise UsageError(f"cannot judge {run.folder}: the claim in its {RUN} is no table")
    margin, confidence = claim.get("margin", MARGIN), claim.get("confidence", CONFIDENCE)
    return judge(run.records, margin, confidence)


def judge(
    records: Sequence[Record], margin: float = MARGIN, confidence: float = CONFIDENCE
) -> list[Verdict]:
    """Judge every curve of a run on every basis it has times for, in the order of the records.

    A curve without any time has no verdict. Flagged records count like all others; what the
    verdict would be without those whose times may be wrong stands beside it.

    Raises:
        UsageError: Margin or confidence out of range.
    """
    check_rule(margin, confidence)
    curves = grouped(records, lambda record: record.case.curve)
    cells = {
        (curve, basis): _cells(of_curve, basis)
        for curve, of_curve in curves.items()
        for basis in BASES
    }
    verdicts = []
    for (curve, basis), times in cells.items():
        if not times:
            continue
        of_curve = curves[curve]
        blocks, depths = _axes(times)
        judgement = judge_curve(_matrix(times, blocks, depths), depths, margin, confidence)
        # The serial net under the same runtime and conditions (see `Regime.group`).
        twin = Curve(Method(SERIAL, "loop", curve.method.runtime), curve.regime.group)
        serial = cells.get((twin, basis), {}) if twin != curve else {}
        verdicts.append(
            Verdict(
                curve=curve,
                basis=basis,
                margin=margin,
                confidence=confidence,
                missing=_missing(of_curve, depths, basis),
                speedup=_speedup(times, serial, twin.id, confidence),
                flags=tuple(sorted({flag for record in of_curve for flag in record.flags})),
                without_flagged=_recount(of_curve, basis, depths, (margin, confidence)),
                **asdict(judgement),
            )
        )
    return verdicts


def _cells(records: Iterable[Record], basis: str) -> Cells:
    logs = {(r.block, r.case.depth): log_median(r, basis) for r in records}
    return {cell: log for cell, log in logs.items() if not math.isnan(log)}


def _axes(cells: Cells) -> tuple[list[int], list[int]]:
    """Blocks and depths that have a time."""
    return sorted({block for block, _ in cells}), sorted({depth for _, depth in cells})


def _matrix(cells: Cells, blocks: Sequence[int], depths: Sequence[int]) -> Array:
    return np.array(
        [[cells.get((block, depth), math.nan) for depth in depths] for block in blocks]
    )


def _recount(
    records: Sequence[Record], basis: str, tested: Sequence[int], rule: tuple[float, float]
) -> Recount | None:
    """Judge without the records that are flagged in a way that may spoil times of this basis.

    What is left out is one case of one block. All ratios are paired by block, so the other depths
    of that block stay of use to each other. Where a depth is lost altogether nothing is judged: a
    curve must not gain by what it lost.
    """
    spoiling = SPOILING if basis == "device" else SPOILING - {"queue_dry"}
    clean = [record for record in records if spoiling.isdisjoint(record.flags)]
    left_out = len(records) - len(clean)
    if not left_out:
        return None
    cells = _cells(clean, basis)
    blocks, depths = _axes(cells)
    if len(blocks) < 2 or len(depths) < 2 or depths != tested:
        return Recount(left_out, len(blocks), None, None, None)
    rest = judge_curve(_matrix(cells, blocks, depths), depths, *rule)
    return Recount(left_out, rest.blocks, rest.verdict, rest.constant_up_to, rest.worst)


def _speedup(cells: Cells, serial: Cells, against: str, confidence: float) -> tuple[Speedup, ...]:
    blocks, depths = _axes({cell: log for cell, log in cells.items() if cell in serial})
    if not depths:
        return ()
    gain = means(_matrix(serial, blocks, depths) - _matrix(cells, blocks, depths))
    low, high = gain.bounds(confidence)
    return tuple(
        Speedup(depth, math.exp(gain.mean[k]), ratio_of(low[k]), ratio_of(high[k]), against)
        for k, depth in enumerate(depths)
    )


def _missing(records: Sequence[Record], depths: Sequence[int], basis: str) -> tuple[Missing, ...]:
    missing = []
    for depth, at_depth in sorted(grouped(records, lambda record: record.case.depth).items()):
        if depth in depths:
            continue
        worst = worst_of(at_depth)
        reason = worst.reason or "no reason recorded"
        if worst.status == "ok":
            reason = worst.null_reasons.get(f"{basis}_seconds", f"no {basis} times")
        missing.append(Missing(depth, worst.status, reason))
    return tuple(missing)
