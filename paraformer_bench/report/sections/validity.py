"""How sure that is: validity flags, cases without a time, calibration, broken lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from paraformer_bench.analysis.claim import Verdict
from paraformer_bench.report import html
from paraformer_bench.report.data import Conditions, ReportData
from paraformer_bench.report.page import Block, Cell, Column, Section, Table
from paraformer_bench.study.calibration import ABSOLUTE, RELATIVE
from paraformer_bench.study.case import Case, Curve
from paraformer_bench.study.record import FLAGS, STATUSES, Record, Status
from paraformer_bench.study.run_folder import RunInfo
from paraformer_bench.study.words import count, depth_list, moment, percent, time, upper_first

ORDER = 70

_ODD = (
    "Something looked odd while these records were measured. They are labelled and kept: leaving "
    "them out would be a choice made after seeing the result."
)


@dataclass(frozen=True)
class Failure:
    """Cases of one method that ended the same way: how, why, at which depths, in which regimes."""

    status: Status
    curve: Curve
    reason: str
    depths: str
    where: str
    records: int


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    records = data.run.records
    flags, failed = flag_counts(records), failures(records, data.regimes)
    body: list[Block] = []
    if flags:
        body += [html.text(_ODD), _flags(flags, len(records))]
        if doubt := recount(data.verdicts):
            body.append(html.text(doubt))
    elif records:
        body.append(html.text("No record carries a validity flag."))
    if failed:
        body += [html.heading("Cases without a time"), _failures(failed, len(data.regimes) > 1)]
    else:
        whole = "Every case was timed in every block that has a record of it."
        body.append(html.text(whole if records else "There are no records."))
    body.append(html.text(html.prose(_calibration(data.run.info), 900)))
    if data.run.warnings:
        body += [html.heading("Broken lines"), html.bullets(data.run.warnings)]
    return [Section("validity", "How sure that is", body, "How sure")]


def flag_counts(records: Iterable[Record]) -> list[tuple[str, int]]:
    """Count the records that carry each flag, most frequent first."""
    return Counter(sorted(flag for record in records for flag in record.flags)).most_common()


def recount(verdicts: Sequence[Verdict]) -> str:
    """Say whether verdicts hang on records whose times may be wrong; empty if there are none."""
    others = [verdict.without_flagged for verdict in verdicts if verdict.without_flagged]
    if not others:
        return ""
    judged = sum(other.verdict is not None for other in others)
    differ = sum(verdict.differs_without_flagged for verdict in verdicts)
    parts = []
    if judged:
        same = "all keep their verdict and where they stop being constant"
        told = f"{differ} read otherwise (the table of verdicts says how)" if differ else same
        parts.append(f"{count(judged, 'curve')} could be judged again without them: {told}")
    if lost := len(others) - judged:
        curves = count(lost, "curve")
        parts.append(f"of {curves} too little is left without them to judge anything")
    about = "Some flags say that times may be wrong, not just less well known."
    return f"{about} {upper_first('; '.join(parts))}."


def failures(records: Iterable[Record], regimes: Mapping[str, Conditions]) -> list[Failure]:
    """Group the records without a time by status, method and reason; the worst status first."""
    lost: dict[tuple[Status, str, str], list[Case]] = {}
    for record in records:
        if record.status != "ok":
            key = record.status, record.case.curve.label, record.reason or "no reason recorded"
            lost.setdefault(key, []).append(record.case)
    failed = []
    for (status, _, reason), cases in lost.items():
        groups = dict.fromkeys(case.group for case in cases)
        everywhere = len(groups) == len(regimes) > 1
        where = "every regime" if everywhere else "; ".join(regimes[g].short for g in groups)
        depths = depth_list(case.depth for case in cases)
        failed.append(Failure(status, cases[0].curve, reason, depths, where, len(cases)))
    return sorted(failed, key=lambda one: (-STATUSES.index(one.status), one.curve.sort_key[1:]))


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


def _calibration(info: RunInfo) -> str:
    """Say how well the instrument read known delays here."""
    told = info.calibration
    if told is None:
        return "The instrument was not calibrated here: doctor --calibrate would have done it."
    read = ", ".join(
        f"{time(r.true_seconds)} as {time(r.measured_seconds)} ({r.share:+.2%})"
        for r in told.readings
        if r.basis == told.basis
    )
    limit = f"{percent(RELATIVE)} or {ABSOLUTE[told.basis] * 1e6:g} µs"
    return (
        f"The instrument was calibrated on {moment(told.date)}. It read known delays "
        f"({told.basis} time): {read}. "
        f"{'All' if told.good else 'Not all'} of them are within {limit}."
    )
