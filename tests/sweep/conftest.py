"""A worker that is no process: it plays the events of one, and its faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.study.job import Job, Protocol

Event = dict[str, Any]


def make_case(depth: int, **fields: Any) -> Case:
    base = Case("serial", "loop", "eager", depth, 64, 1, 64, 16, 1, 1, "float32", "cpu")
    return Case.from_json(base.to_json() | fields)


def make_job(groups: list[list[Case]], block: int = 0, **fields: Any) -> Job:
    protocol = Protocol(blocks=2, rounds=3, timeout_seconds=7.0)
    return Job(block, "cpu", protocol, 0, [], groups, **fields)


class Events:
    """The events of `instrument.visit`, one at a time."""

    @staticmethod
    def begin(case: Case, stage: str = "prepare") -> Event:
        return {"event": "begin", "case_id": case.id, "stage": stage}

    @staticmethod
    def prepared(case: Case, order: int = 0, **facts: Any) -> Event:
        return {
            "event": "prepared",
            "case_id": case.id,
            "order": order,
            "facts": {"parameter_bytes": 64, "flops": 128} | facts,
            "null_reasons": {"device_seconds": "no clock"},
            "busy_seconds": 0.5,
        }

    @staticmethod
    def sampled(case: Case, wall: list[float], **fields: Any) -> Event:
        return {
            "event": "sampled",
            "case_id": case.id,
            "wall_seconds": wall,
            "device_seconds": [],
            "dry": 0,
            "reading": {},
            "busy_seconds": 0.25,
        } | fields

    @staticmethod
    def timed(case: Case, **fields: Any) -> Event:
        return {
            "event": "timed",
            "case_id": case.id,
            "flags": [],
            "sentinel_seconds": [0.1],
        } | fields

    @staticmethod
    def energy(case: Case, **fields: Any) -> Event:
        window = {"seconds": 2.0, "calls": 400, "watts": 50.0}
        return {"event": "energy", "case_id": case.id, "joules": 0.25, "window": window} | fields

    @staticmethod
    def finished(case: Case, **fields: Any) -> Event:
        return {
            "event": "finished",
            "case_id": case.id,
            "status": "ok",
            "reason": None,
            "flags": [],
        } | fields


class SimulatedWorker:
    """Plays a job as a worker would, in three rounds of two samples, and energy if asked for.

    Args:
        job: What to play.
        faults: By case id and stage (``prepare``, ``sample``, ``energy``): ``die``, ``hang``,
            ``fail`` (the case ends as an error, or without energy) or ``poison`` (so does the
            device, and the worker gives up).
    """

    def __init__(self, job: Job, faults: Mapping[tuple[str, str], str] | None = None) -> None:
        self._faults = dict(faults or {})
        self._ending = "the worker exited with code 0"
        self._events = self._play(job)
        self.patience: list[float] = []
        self.closed = 0

    def next_event(self, seconds: float) -> Event | None:
        self.patience.append(seconds)
        event = next(self._events, None)
        if event == {"event": "hang"}:
            raise TimeoutError
        return event

    def close(self) -> str:
        self.closed += 1
        return self._ending

    def _play(self, job: Job) -> Iterator[Event]:
        yield {"event": "ready"}
        order = job.first_order
        for group in job.groups:
            ready = []
            for case in group:
                yield Events.begin(case)
                fault = self._faults.get((case.id, "prepare"))
                if fault is None:
                    ready.append(case)
                    yield Events.prepared(case, order)
                else:
                    yield from self._broken(case, fault)
                    if fault != "fail":
                        return
                order += 1
            for turn in range(job.protocol.rounds):
                yield {"event": "sentinel", "busy_seconds": 0.125}
                for case in list(ready):
                    yield Events.begin(case)
                    fault = self._faults.get((case.id, "sample"))
                    if fault is None:
                        yield Events.sampled(case, [1.0 + turn, 1.5 + turn])
                    else:
                        yield from self._broken(case, fault)
                        ready.remove(case)
                        if fault != "fail":
                            return
            windows = ready if job.protocol.energy_seconds else []
            for case in windows:
                yield Events.timed(case)
            for case in ready:
                fault = self._faults.get((case.id, "energy")) if windows else None
                if windows:
                    yield Events.begin(case, "energy")
                if fault in ("hang", "die"):
                    yield from self._broken(case, fault)
                    return
                if fault:
                    yield Events.energy(case, joules=None, reason=f"error: {fault}")
                elif windows:
                    yield Events.energy(case)
                yield Events.finished(case, sentinel_seconds=[0.1])
                if fault == "poison":
                    self._ending = "the worker exited with code 3"
                    return
        yield {"event": "done"}

    def _broken(self, case: Case, fault: str) -> Iterator[Event]:
        if fault == "hang":
            yield {"event": "hang"}
        if fault == "die":
            self._ending = "the worker was killed by SIGSEGV"
        if fault in ("fail", "poison"):
            reason = f"RuntimeError: {fault}"
            yield Events.finished(case, status="error", reason=reason, order=0)
        if fault == "poison":
            self._ending = "the worker exited with code 3"


@pytest.fixture(scope="session")
def case_of():
    return make_case


@pytest.fixture(scope="session")
def job_of():
    return make_job


@pytest.fixture(scope="session")
def events() -> type[Events]:
    return Events


@pytest.fixture(scope="session")
def simulated() -> type[SimulatedWorker]:
    return SimulatedWorker
