"""Records to verdicts: one for every curve and basis, as `verdicts.json` holds them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec.structs import asdict

from paraformer_bench.analysis.curve import (
    CONFIDENCE,
    MARGIN,
    check_rule,
    judge_curve,
    ratio_of,
)
from paraformer_bench.analysis.intervals import Array, means
from paraformer_bench.analysis.medians import BASES, log_median
from paraformer_bench.analysis.verdict import Missing, Recount, Speedup, Verdict
from paraformer_bench.study.case import SERIAL, Curve, Method
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import SPOILING, STATUSES, Record
from paraformer_bench.study.run_folder import RUN, Run

Cells = dict[int, dict[int, float]]
"""Log medians of one curve and basis: depth -> block -> logarithm of seconds."""


def judge(
    records: Sequence[Record], margin: float = MARGIN, confidence: float = CONFIDENCE
) -> list[Verdict]:
    """Judge every curve on every basis it has times for, in the order of the records.

    A curve without any time has no verdict. Flagged records count like all others; what the
    verdict would be without those whose times may be wrong stands beside it.

    Args:
        records: Records of one run, no two of one case and block.
        margin: Growth that still counts as constant.
        confidence: One-sided confidence of every bound.

    Raises:
        UsageError: Margin or confidence out of range.
    """
    check_rule(margin, confidence)
    curves: dict[Curve, list[Record]] = {}
    for record in records:
        curves.setdefault(record.case.curve, []).append(record)
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
        depths = sorted(times)
        matrix = _matrix(times, _blocks(times), depths)
        judgement = judge_curve(matrix, depths, margin, confidence)
        twin = _serial_twin(curve)
        serial = cells.get((twin, basis), {}) if twin != curve else {}
        verdicts.append(
            Verdict(
                curve=curve,
                basis=basis,
                margin=margin,
                confidence=confidence,
                missing=tuple(_missing(of_curve, judgement.depths, basis)),
                speedup=_speedup(times, serial, twin.id, confidence),
                flags=tuple(sorted({flag for record in of_curve for flag in record.flags})),
                without_flagged=_recount(of_curve, basis, depths, (margin, confidence)),
                **asdict(judgement),
            )
        )
    return verdicts


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


def _cells(records: Iterable[Record], basis: str) -> Cells:
    cells: Cells = {}
    for record in records:
        value = log_median(record, basis)
        if not math.isnan(value):
            cells.setdefault(record.case.depth, {})[record.block] = value
    return cells


def _blocks(cells: Cells) -> list[int]:
    return sorted({block for column in cells.values() for block in column})


def _matrix(cells: Cells, blocks: Sequence[int], depths: Sequence[int]) -> Array:
    columns = [cells.get(depth, {}) for depth in depths]
    return np.array([[column.get(block, math.nan) for column in columns] for block in blocks])


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
    if len(clean) == len(records):
        return None
    cells = _cells(clean, basis)
    blocks, depths = _blocks(cells), sorted(cells)
    left_out = len(records) - len(clean)
    if len(blocks) < 2 or len(depths) < 2 or depths != tested:
        return Recount(left_out, len(blocks), None, None, None)
    found = judge_curve(_matrix(cells, blocks, depths), depths, *rule)
    return Recount(left_out, found.blocks, found.verdict, found.constant_up_to, found.worst)


def _serial_twin(curve: Curve) -> Curve:
    """The serial net under the same runtime and conditions (see `Regime.group`)."""
    return Curve(Method(SERIAL, "loop", curve.method.runtime), curve.regime.group)


def _speedup(cells: Cells, serial: Cells, against: str, confidence: float) -> tuple[Speedup, ...]:
    depths = sorted(cells.keys() & serial.keys())
    if not depths:
        return ()
    blocks = _blocks(cells)
    gain = means(_matrix(serial, blocks, depths) - _matrix(cells, blocks, depths))
    low, high = gain.bounds(confidence)
    return tuple(
        Speedup(depth, math.exp(gain.mean[k]), ratio_of(low[k]), ratio_of(high[k]), against)
        for k, depth in enumerate(depths)
        if gain.count[k]
    )


def _missing(records: Sequence[Record], depths: Sequence[int], basis: str) -> list[Missing]:
    worst: dict[int, Record] = {}
    for record in records:
        held = worst.setdefault(record.case.depth, record)
        if STATUSES.index(record.status) > STATUSES.index(held.status):
            worst[record.case.depth] = record
    missing = []
    for depth in sorted(worst.keys() - set(depths)):
        record = worst[depth]
        untimed = record.null_reasons.get(f"{basis}_seconds", f"no {basis} times")
        reason = untimed if record.status == "ok" else record.reason or "no reason recorded"
        missing.append(Missing(depth, record.status, reason))
    return missing
