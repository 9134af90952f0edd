"""How sure that is: validity flags, cases without a time, calibration, broken lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.report import facts, html
from paraformer_bench.report.data import Conditions, ReportData
from paraformer_bench.report.section import Block, Cell, Column, Section, Table
from paraformer_bench.study.case import Curve
from paraformer_bench.study.record import FLAGS, STATUSES, Record, Status
from paraformer_bench.study.words import count, depth_list, upper_first

ORDER = 70

_ODD = (
    "Something looked odd while these records were measured. They are labelled and kept: leaving "
    "them out would be a choice made after seeing the result."
)


@dataclass(frozen=True)
class Failure:
    """Cases of one method that ended the same way.

    Attributes:
        status: How they ended.
        curve: Who.
        reason: Why.
        depths: At which depths.
        where: Under which conditions.
        records: How many records say so.
    """

    status: Status
    curve: Curve
    reason: str
    depths: str
    where: str
    records: int


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    records = data.run.records
    body: list[Block] = []
    if flags := flag_counts(records):
        body += [html.text(_ODD), _flags(flags, len(records))]
        if doubt := recount(data.verdicts):
            body.append(html.text(doubt))
    elif records:
        body.append(html.text("No record carries a validity flag."))
    if failed := failures(records, data.regimes):
        body += [html.heading("Cases without a time"), _failures(failed, len(data.regimes) > 1)]
    elif records:
        body.append(html.text("Every case was timed in every block that has a record of it."))
    else:
        body.append(html.text("There are no records."))
    body.append(html.text(html.prose(facts.calibration(data.run.info), 900)))
    if data.run.warnings:
        body += [html.heading("Broken lines"), html.bullets(data.run.warnings)]
    return [Section("validity", "How sure that is", body, "How sure")]


def flag_counts(records: Iterable[Record]) -> list[tuple[str, int]]:
    """Count the records that carry each flag, most frequent first."""
    counts = Counter(flag for record in records for flag in record.flags)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def recount(verdicts: Sequence[Verdict]) -> str:
    """Say whether verdicts hang on records whose times may be wrong; empty if there are none."""
    others = [verdict.without_flagged for verdict in verdicts if verdict.without_flagged]
    if not others:
        return ""
    judged = sum(other.verdict is not None for other in others)
    differ = sum(verdict.differs_without_flagged for verdict in verdicts)
    parts = []
    if judged:
        curves = count(judged, "curve")
        same = "all keep their verdict and where they stop being constant"
        told = f"{differ} read otherwise (the table of verdicts says how)" if differ else same
        parts.append(f"{curves} could be judged again without them: {told}")
    if judged < len(others):
        curves = count(len(others) - judged, "curve")
        parts.append(f"of {curves} too little is left without them to judge anything")
    about = "Some flags say that times may be wrong, not just less well known."
    return f"{about} {upper_first('; '.join(parts))}."


def failures(records: Iterable[Record], regimes: Mapping[str, Conditions]) -> list[Failure]:
    """Group the records without a time by status, method and reason; the worst status first."""
    lost: dict[tuple[Status, str, str], list[Record]] = {}
    for record in records:
        if record.status != "ok":
            key = record.status, record.case.curve.label, record.reason or "no reason recorded"
            lost.setdefault(key, []).append(record)
    found = []
    for (status, _, reason), held in lost.items():
        groups = dict.fromkeys(record.case.group for record in held)
        everywhere = len(groups) == len(regimes) > 1
        where = "every regime" if everywhere else "; ".join(regimes[g].short for g in groups)
        depths = depth_list(record.case.depth for record in held)
        found.append(Failure(status, held[0].case.curve, reason, depths, where, len(held)))
    return sorted(found, key=lambda one: (-STATUSES.index(one.status), one.curve.sort_key[1:]))


def _flags(counts: list[tuple[str, int]], records: int) -> Block:
    columns: list[Column[tuple[str, int]]] = [
        Column("flag", lambda row: html.rich("<bdi>{}</bdi>", row[0])),
        Column("records", lambda row: Cell(f"{row[1]} of {records}", key=row[1])),
        Column("what it means", lambda row: FLAGS.get(row[0], "unknown to this version")),
    ]
    return Table(columns, counts)


def _failures(failed: list[Failure], several: bool) -> Block:
    columns: list[Column[Failure]] = [
        Column("status", lambda row: html.rich("<b>{}</b>", row.status)),
        Column("method", lambda row: html.method(row.curve)),
        Column("depths L", lambda row: row.depths),
        Column("records", lambda row: Cell(str(row.records), key=row.records)),
        Column("reason", lambda row: html.prose(row.reason)),
    ]
    if several:
        columns.insert(3, Column("where", lambda row: html.prose(row.where)))
    return Table(columns, failed)
