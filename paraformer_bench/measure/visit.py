"""One visit to a group of cases: prepare each, sample them in shuffled rounds, close each."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from paraformer_bench.case import Case
from paraformer_bench.errors import Unsupported
from paraformer_bench.job import Job, round_order
from paraformer_bench.measure import host_load, telemetry
from paraformer_bench.measure.bench import prepare
from paraformer_bench.measure.device import Device, is_out_of_memory
from paraformer_bench.measure.gate import Mismatch
from paraformer_bench.measure.pool import Pool
from paraformer_bench.measure.sampler import Slice, relative_half_width, take_slice
from paraformer_bench.record import ENOUGH_SAMPLES

Emit = Callable[[dict[str, Any]], None]

_DRIFT = 0.10
_SENTINEL_CALLS = 7
_WARM_UP_SHARE = 0.25


class Visit:
    """Visits the groups of one job.

    Events emitted, each a dict with ``event`` and, but for the sentinel's, ``case_id``:
    ``begin`` before anything that may hang; ``prepared`` with the facts known before timing;
    ``sampled`` with the samples of one round; ``finished`` with status, reason and flags.
    ``busy_seconds`` is time spent in warm-up or timed calls since the last event.

    Args:
        device: Where to measure.
        job: What to measure.
        emit: Receives the events.
    """

    def __init__(self, device: Device, job: Job, emit: Emit) -> None:
        self._device = device
        self._job = job
        self._emit = emit
        # Prepared like any case, so that what loads on first use is not charged to a real one.
        self._sentinel_case = sentinel_case(job.device)
        self._sentinel = prepare(self._sentinel_case, device, job.block, 0.1, {})
        self._order = job.first_order

    def group(self, cases: list[Case]) -> bool:
        """Visit one group.

        Returns:
            False when the device no longer works and this process cannot go on.
        """
        pool = Pool(self._device, self._job.block)
        drift = [self._watch()]
        open_cases: dict[Case, _Samples] = {}
        for case in cases:
            self._begin(case, "prepare")
            if self._prepare(pool, case):
                open_cases[case] = _Samples()
            elif not self._recover(pool, case):
                return False
        for turn in range(self._job.protocol.rounds):
            drift.append(self._watch())
            for case in round_order(open_cases, self._job.seed, self._job.block, turn):
                self._begin(case, "sample")
                if not self._sample(pool, case, open_cases[case]):
                    del open_cases[case]
                    if not self._recover(pool, case):
                        return False
        drift.append(self._watch())
        for case, samples in open_cases.items():
            self._finish_ok(case, samples, drift)
        return True

    def _prepare(self, pool: Pool, case: Case) -> bool:
        order, self._order = self._order, self._order + 1
        seconds = _WARM_UP_SHARE * self._job.protocol.seconds_per_case
        try:
            bench = pool.prepare(case, seconds)
        except Exception as error:
            self._finish_failed(case, error, order)
            return False
        self._emit(
            {
                "event": "prepared",
                "case_id": case.id,
                "order": order,
                "facts": bench.facts,
                "null_reasons": self._null_reasons() | bench.null_reasons,
                "busy_seconds": bench.busy,
            }
        )
        return True

    def _sample(self, pool: Pool, case: Case, samples: _Samples) -> bool:
        result = None
        self._device.host.begin()
        try:
            result = self._slice(pool, case, samples)
        except Exception as error:
            if pool.alone(case) or not is_out_of_memory(error):
                self._finish_failed(case, error, None)
                return False
        if result is None:  # past the handler, whose traceback keeps tensors alive
            pool.drop_all()
            try:
                result = self._slice(pool, case, samples)
            except Exception as error:
                self._finish_failed(case, error, None)
                return False
        reading = self._device.host.read() | self._device.telemetry.read()
        samples.add(result, reading)
        self._emit(
            {
                "event": "sampled",
                "case_id": case.id,
                "wall_seconds": result.wall,
                "device_seconds": result.device,
                "dry": result.dry,
                "reading": reading,
                "busy_seconds": result.busy,
            }
        )
        return True

    def _slice(self, pool: Pool, case: Case, samples: _Samples) -> Slice:
        """Take the samples of one round and note whether anything was compiled meanwhile."""
        protocol = self._job.protocol
        bench = pool.get(case)
        compiled = bench.compilations()
        result = take_slice(
            bench.call,
            self._device.clock,
            seconds=protocol.seconds_per_case / protocol.rounds,
            earlier=samples.wall,
            target=protocol.target_relative_error,
        )
        samples.recompiled |= bench.compilations() > compiled
        return result

    def _recover(self, pool: Pool, case: Case) -> bool:
        """Free what a failed case holds; False if the device no longer works."""
        try:
            pool.drop(case)  # raises on a device with a sticky error
        except Exception:
            return False
        return self._device.healthy()

    def _finish_ok(self, case: Case, samples: _Samples, drift: list[float]) -> None:
        flags = telemetry.flags(samples.readings) + host_load.flags(samples.readings)
        if relative_half_width(samples.wall) > self._job.protocol.target_relative_error:
            flags.append("unconverged")
        if len(samples.wall) < ENOUGH_SAMPLES:
            flags.append("too_few_samples")
        if samples.dry:
            flags.append("queue_dry")
        if samples.recompiled:
            flags.append("recompiled")
        if max(drift) > (1 + _DRIFT) * min(drift):
            flags.append("drift")
        self._emit(
            {
                "event": "finished",
                "case_id": case.id,
                "status": "ok",
                "reason": None,
                "flags": sorted(set(flags)),
                "sentinel_seconds": drift,
            }
        )

    def _finish_failed(self, case: Case, error: Exception, order: int | None) -> None:
        status, reason = describe(error)
        self._emit(
            {
                "event": "finished",
                "case_id": case.id,
                "status": status,
                "reason": reason,
                "flags": [],
                "order": order,
            }
        )

    def _begin(self, case: Case, stage: str) -> None:
        self._emit({"event": "begin", "case_id": case.id, "stage": stage})

    def _watch(self) -> float:
        """Median time of the sentinel case right now."""
        self._device.use(self._sentinel_case)
        times = [self._device.clock.wall(self._sentinel.call) for _ in range(_SENTINEL_CALLS)]
        self._emit({"event": "sentinel", "busy_seconds": sum(times)})
        return median(times)

    def _null_reasons(self) -> dict[str, str]:
        reasons = {"energy_joules": "energy is not measured yet"}
        if self._job.device == "cpu":
            reasons["device_seconds"] = "the CPU is the host: it has no clock of its own"
            reasons["energy_joules"] = "no energy counter is read on a CPU"
        if isinstance(self._device.telemetry, telemetry.NoTelemetry):
            reasons["telemetry"] = self._device.telemetry.reason
        return reasons


class _Samples:
    """What a case has gathered over its rounds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.dry = 0
        self.recompiled = False
        self.readings: list[telemetry.Reading] = []

    def add(self, result: Slice, reading: telemetry.Reading) -> None:
        self.wall += result.wall
        self.dry += result.dry
        self.readings.append(reading)


def describe(error: Exception) -> tuple[str, str]:
    """Return the record status and the one-line reason for what preparing or timing raised."""
    first = next(iter(str(error).splitlines()), "")
    if isinstance(error, Unsupported):
        return "skipped", first
    if isinstance(error, Mismatch):
        return "mismatch", first
    if is_out_of_memory(error):
        return "oom", first
    return "error", f"{type(error).__name__}: {first}"


def sentinel_case(device: str) -> Case:
    """A small net that never changes: when its time moves, the machine has changed."""
    return Case(
        model="serial",
        execution="loop",
        runtime="eager",
        depth=2,
        width=192,
        batch=1,
        image=224,
        patch=16,
        heads=3,
        branch_depth=1,
        dtype="float32",
        device=device,
    )
