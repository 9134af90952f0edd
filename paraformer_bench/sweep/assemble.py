"""From a worker's events to records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.job import Job
from paraformer_bench.study.record import ENOUGH_SAMPLES, Record

Event = Mapping[str, Any]


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
    def of(cls, job: Job) -> Assembly:
        """Return an assembly for the events of a worker at ``job``."""
        return cls(job.block, [case for group in job.groups for case in group])

    @property
    def current(self) -> str | None:
        """Id of the case whose step is under way, if one is."""
        return self._current

    @property
    def idle(self) -> bool:
        """Whether no case has been begun that is not finished."""
        return not self._open

    def add(self, event: Event) -> Record | None:
        """Take in one event; return the record it completes, if it does."""
        kind = event["event"]
        if kind not in ("begin", "prepared", "sampled", "timed", "energy", "finished"):
            return None
        case_id = event["case_id"]
        self._current = case_id if kind == "begin" else None
        self._stage = event.get("stage", "")
        record = self._record(case_id)
        if "machine" in event:
            record.telemetry["machine"] = event["machine"]
        if kind == "prepared":
            record.order = event["order"]
            record.null_reasons = dict(event["null_reasons"])
            for name, value in event["facts"].items():
                setattr(record, name, value)
        elif kind == "sampled":
            _add_slice(record, event)
        elif kind == "timed":
            self._timed.add(case_id)
            _label(record, event)
        elif kind == "energy":
            _add_energy(record, event)
        elif kind == "finished":
            return self._close(case_id, event)
        return None

    def fail_current(self, status: str, reason: str) -> Record | None:
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
            self._open[case_id] = Record(self._cases[case_id], self._block, None, "error")
        return self._open[case_id]

    def _close(self, case_id: str, event: Event) -> Record:
        record = self._record(case_id)
        status, reason = event["status"], event["reason"]
        _label(record, event)
        record.status, record.reason = status, reason
        if event.get("order") is not None:
            record.order = event["order"]
        del self._open[case_id]  # only now: an event that lacks something must not lose samples
        return record


def _label(record: Record, event: Event) -> None:
    record.flags = list(event["flags"])
    if "sentinel_seconds" in event:
        record.telemetry["sentinel_seconds"] = event["sentinel_seconds"]


def _add_energy(record: Record, event: Event) -> None:
    record.energy_joules = event["joules"]
    if event["joules"] is None:
        record.null_reasons["energy_joules"] = event["reason"]
        return
    record.null_reasons.pop("energy_joules", None)
    record.telemetry["energy"] = event["window"]


def _add_slice(record: Record, event: Event) -> None:
    wall, device = event["wall_seconds"], event["device_seconds"]
    dry, reading = event["dry"], event["reading"]
    record.wall_seconds += wall
    record.rounds.append(len(wall))
    if device:
        record.device_seconds = (record.device_seconds or []) + device
    if dry:
        record.telemetry["dry_samples"] = record.telemetry.get("dry_samples", 0) + dry
    if reading:
        record.telemetry.setdefault("readings", []).append(reading)
