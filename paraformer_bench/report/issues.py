"""What stands between the numbers and the truth: validity flags, and cases without a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.report import units
from paraformer_bench.report.regimes import Regime
from paraformer_bench.report.series import Line, line_of
from paraformer_bench.study.record import FLAGS, STATUSES


@dataclass(frozen=True)
class FlagCount:
    """How often a validity flag was raised, and what it means."""

    flag: str
    records: int
    meaning: str


@dataclass(frozen=True)
class Failure:
    """Cases of one method that ended the same way.

    Attributes:
        status: How they ended.
        line: Who.
        depths: At which depths.
        regimes: Under which conditions.
        records: How many records say so.
        reason: Why.
    """

    status: str
    line: Line
    depths: str
    regimes: str
    records: int
    reason: str


def flag_counts(blocks: pd.DataFrame) -> list[FlagCount]:
    """Count the records that carry each flag of a block table, most frequent first."""
    counts = Counter(flag for flags in blocks["flags"] for flag in flags)
    return [
        FlagCount(flag, number, FLAGS.get(flag, "unknown to this version"))
        for flag, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def recount(verdicts: Sequence[Verdict]) -> str:
    """Say whether verdicts hang on records whose times may be wrong; empty if there are none."""
    others = [verdict.without_flagged for verdict in verdicts if verdict.without_flagged]
    if not others:
        return ""
    judged = sum(other.verdict is not None for other in others)
    differ = sum(verdict.differs_without_flagged for verdict in verdicts)
    parts = []
    if judged:
        curves = units.count(judged, "curve")
        same = "all keep their verdict and where they stop being constant"
        told = f"{differ} read otherwise (the table of verdicts says how)" if differ else same
        parts.append(f"{curves} could be judged again without them: {told}")
    if judged < len(others):
        curves = units.count(len(others) - judged, "curve")
        parts.append(f"of {curves} too little is left without them to judge anything")
    words = "; ".join(parts)
    about = "Some flags say that times may be wrong, not just less well known."
    return f"{about} {words[0].upper()}{words[1:]}."


def failures(blocks: pd.DataFrame, regimes: Mapping[str, Regime]) -> list[Failure]:
    """Group the records without a time by status, method and reason; the worst status first."""
    lost = blocks[blocks["status"] != "ok"]
    who = ["status", "model", "execution", "runtime", "branch_depth", "devices", "reason"]
    found = []
    for _, held in lost.groupby(who, sort=False):
        row = held.iloc[0].to_dict()
        groups = list(dict.fromkeys(held["group"]))
        named = "; ".join(regimes[group].short for group in groups)
        everywhere = len(groups) == len(regimes)
        found.append(
            Failure(
                str(row["status"]),
                line_of(row),
                units.depth_list(held["depth"].tolist()),
                "every regime" if everywhere and len(groups) > 1 else named,
                len(held),
                row["reason"] or "no reason recorded",
            )
        )
    return sorted(found, key=lambda failure: (-STATUSES.index(failure.status), failure.line))
