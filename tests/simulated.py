"""Cases, jobs and events as tests of the parent need them, and a worker that is no process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paraformer_bench.study.case import Case
from paraformer_bench.study.events import (
    Begin,
    Done,
    Energy,
    Event,
    Finished,
    Prepared,
    Ready,
    Sampled,
    Sentinel,
    Timed,
)
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.record import Facts


def case_of(depth: int = 2, **fields: Any) -> Case:
    """A small case; ``fields`` are others than those of a serial net on the CPU."""
    usual: dict[str, Any] = {
        "model": "serial",
        "execution": "loop",
        "runtime": "eager",
        "width": 64,
        "batch": 1,
        "image": 64,
        "patch": 16,
        "heads": 1,
        "branch_depth": 1,
        "dtype": "float32",
        "device": "cpu",
    }
    return Case.of(**(usual | {"depth": depth} | fields))


def job_of(groups: list[list[Case]], block: int = 0, **fields: Any) -> BlockJob:
    """A job of three rounds, and 7 s of patience."""
    protocol = Protocol(blocks=2, rounds=3, timeout_seconds=7.0)
    usual: dict[str, Any] = {"device": "cpu", "protocol": protocol, "seed": 0}
    return BlockJob(block=block, groups=groups, **(usual | fields))


class Events:
    """The events of `instrument.visit`, one at a time."""

    @staticmethod
    def begin(case: Case, stage: str = "prepare") -> Begin:
        return Begin(case_id=case.id, stage=stage)

    @staticmethod
    def prepared(
        case: Case,
        order: int = 0,
        null_reasons: dict[str, str] | None = None,
        machine: dict[str, str] | None = None,
        **facts: Any,
    ) -> Prepared:
        return Prepared(
            case_id=case.id,
            machine=machine,
            order=order,
            facts=Facts(**({"parameter_bytes": 64, "flops": 128} | facts)),
            null_reasons=null_reasons or {"device_seconds": "no clock"},
            busy_seconds=0.5,
        )

    @staticmethod
    def sampled(case: Case, wall: list[float], **fields: Any) -> Sampled:
        usual: dict[str, Any] = {
            "device_seconds": [],
            "dry": 0,
            "reading": {},
            "busy_seconds": 0.25,
        }
        return Sampled(case_id=case.id, wall_seconds=wall, **(usual | fields))

    @staticmethod
    def timed(case: Case, **fields: Any) -> Timed:
        return Timed(case_id=case.id, **({"flags": [], "sentinel_seconds": [0.1]} | fields))

    @staticmethod
    def energy(case: Case, **fields: Any) -> Energy:
        window = {"seconds": 2.0, "calls": 400, "watts": 50.0}
        return Energy(case_id=case.id, **({"joules": 0.25, "window": window} | fields))

    @staticmethod
    def finished(case: Case, **fields: Any) -> Finished:
        return Finished(case_id=case.id, **({"status": "ok"} | fields))


class SimulatedWorker:
    """Plays a job as a worker would, in three rounds of two samples, and energy if asked for.

    Args:
        job: What to play.
        faults: By case id and stage (``prepare``, ``sample``, ``energy``): ``die``, ``hang``,
            ``fail`` (the case ends as an error, or without energy) or ``poison`` (so does the
            device, and the worker gives up).
    """

    def __init__(self, job: BlockJob, faults: Mapping[tuple[str, str], str] | None = None) -> None:
        self._faults = dict(faults or {})
        self._ending = "the worker exited with code 0"
        self._events = self._play(job)
        self.patience: list[float] = []
        self.closed = 0

    def next_event(self, seconds: float) -> Event | None:
        self.patience.append(seconds)
        return next(self._events, None)

    def close(self) -> str:
        self.closed += 1
        return self._ending

    def _play(self, job: BlockJob) -> Iterator[Event]:
        yield Ready()
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
                yield Sentinel(busy_seconds=0.125)
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
        yield Done()

    def _broken(self, case: Case, fault: str) -> Iterator[Event]:
        if fault == "hang":
            raise TimeoutError
        if fault == "die":
            self._ending = "the worker was killed by SIGSEGV"
        if fault in ("fail", "poison"):
            reason = f"RuntimeError: {fault}"
            yield Events.finished(case, status="error", reason=reason, order=0)
        if fault == "poison":
            self._ending = "the worker exited with code 3"
