"""From a worker's events to records."""

from __future__ import annotations

from collections.abc import Iterable

from paraformer_bench.study.case import Case
from paraformer_bench.study.events import (
    Begin,
    CaseEvent,
    Energy,
    Event,
    Finished,
    Prepared,
    Sampled,
    Timed,
)
from paraformer_bench.study.job import BlockJob
from paraformer_bench.study.record import ENOUGH_SAMPLES, Facts, Record, Status


class Assembly:
    """Folds the events of one block into records.

    Args:
        block: Index of the block.
        cases: Every case the events may speak of.
    """

    def __init__(self, block: int, cases: Iterable[Case]) -> None:
        self._block = block
        self._cases = {case.id: case for case in cases}
        self._open: dict[str, Record] = {}
        self._current: str | None = None
        self._stage = ""
        self._timed: set[str] = set()

    @classmethod
    def of(cls, job: BlockJob) -> Assembly:
        """Return an assembly for the events of a worker at ``job``."""
        return cls(job.block, job.cases)

    @property
    def current(self) -> str | None:
        """Id of the case whose step is under way, if one is."""
        return self._current

    @property
    def idle(self) -> bool:
        """Whether no case has been begun that is not finished."""
        return not self._open

    def add(self, event: Event) -> Record | None:
        """Take in one event; return the record it completes, if it does.

        Raises:
            KeyError: It is about a case that is none of the job's.
        """
        if not isinstance(event, CaseEvent):
            return None
        case_id = event.case_id
        record = self._record(case_id)
        self._current = case_id if isinstance(event, Begin) else None
        self._stage = event.stage if isinstance(event, Begin) else ""
        if event.machine is not None:
            record.telemetry["machine"] = event.machine
        if isinstance(event, Prepared):
            _add_facts(record, event)
        elif isinstance(event, Sampled):
            _add_samples(record, event)
        elif isinstance(event, Timed):
            self._timed.add(case_id)
            _label(record, event)
        elif isinstance(event, Energy):
            _add_energy(record, event)
        elif isinstance(event, Finished):
            _label(record, event)
            record.status, record.reason = event.status, event.reason
            if event.order is not None:
                record.order = event.order
            del self._open[case_id]
            return record
        return None

    def fail_current(self, status: Status, reason: str) -> Record | None:
        """Close the case under way with ``status``, if there is one.

        One that was in its energy window has all its samples: it is ``ok``, without energy.
        """
        if self._current is None:
            return None
        case_id, self._current = self._current, None
        record = self._open.pop(case_id)
        if self._stage == "energy" and case_id in self._timed:
            record.status = "ok"
            record.null_reasons["energy_joules"] = f"{status}: {reason}"
        else:
            record.status, record.reason = status, reason
        return record

    def salvage(self) -> list[Record]:
        """Close every case that has samples, flagged ``interrupted``; forget the others.

        Cases whose rounds were all done are not interrupted: they lack their energy at most.
        """
        records = []
        for case_id, record in self._open.items():
            if case_id in self._timed:
                record.status = "ok"
                records.append(record)
            elif record.wall_seconds:
                record.status = "ok"
                record.flags = ["interrupted"]
                if len(record.wall_seconds) < ENOUGH_SAMPLES:
                    record.flags.append("too_few_samples")
                records.append(record)
        self._open.clear()
        self._current = None
        return records

    def _record(self, case_id: str) -> Record:
        if case_id not in self._open:
            case = self._cases[case_id]
            self._open[case_id] = Record(case=case, block=self._block, status="error")
        return self._open[case_id]


def _add_facts(record: Record, event: Prepared) -> None:
    record.order = event.order
    record.null_reasons = dict(event.null_reasons)
    for name in Facts.__struct_fields__:
        if name != "telemetry":
            setattr(record, name, getattr(event.facts, name))
    record.telemetry |= event.facts.telemetry


def _label(record: Record, event: Timed | Finished) -> None:
    record.flags = list(event.flags)
    if event.sentinel_seconds is not None:
        record.telemetry["sentinel_seconds"] = event.sentinel_seconds


def _add_energy(record: Record, event: Energy) -> None:
    record.energy_joules = event.joules
    if event.joules is None:
        record.null_reasons["energy_joules"] = event.reason or "no reason was given"
        return
    record.null_reasons.pop("energy_joules", None)
    record.telemetry["energy"] = event.window


def _add_samples(record: Record, event: Sampled) -> None:
    record.wall_seconds += event.wall_seconds
    record.rounds.append(len(event.wall_seconds))
    if event.device_seconds:
        record.device_seconds = (record.device_seconds or []) + event.device_seconds
    if event.dry:
        record.telemetry["dry_samples"] = record.telemetry.get("dry_samples", 0) + event.dry
    if event.reading:
        record.telemetry.setdefault("readings", []).append(event.reading)
