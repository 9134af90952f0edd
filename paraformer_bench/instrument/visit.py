"""One visit to a group of cases: prepare each, sample them in shuffled rounds, close each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

from paraformer_bench.instrument import meters
from paraformer_bench.instrument.bench import Bench, Builder
from paraformer_bench.instrument.device import describe, is_out_of_memory
from paraformer_bench.instrument.energy import Meter, NoMeter, take_window
from paraformer_bench.instrument.gate import References
from paraformer_bench.instrument.sampler import Slice, relative_half_width, take_slice
from paraformer_bench.study import events
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.job import BlockJob, round_order
from paraformer_bench.study.record import ENOUGH_SAMPLES

T = TypeVar("T")

_DRIFT = 0.10
_SENTINEL_CALLS = 7
_WARM_UP_SHARE = 0.25
_WINDOW_SHARE = 0.9
"""Share of ``timeout_seconds`` that an energy window may take, its two ticks included."""
_NO_WINDOW = "the suite asks for no energy window: set energy_seconds in its [protocol]"


class Visit:
    """Visits the groups of one job.

    It emits `Begin` before anything that may hang; `Prepared` when a case is warm; `Sampled` after
    each of its rounds; `Finished` at its end. Where the suite asks for energy and the device has a
    meter, `Timed` comes before the windows and `Energy` after that of each case. `Sentinel` tells
    of the sentinel case.
    """

    def __init__(
        self, builder: Builder, job: BlockJob, emit: Callable[[events.Event], None]
    ) -> None:
        self._builder = builder
        self._device = builder.device
        self._job = job
        self._emit = emit
        self._meter = self._device.meter if job.protocol.energy_seconds else NoMeter(_NO_WINDOW)
        # Prepared like any case, so that what loads on first use is not charged to a real one.
        self._sentinel_case = sentinel_case(job.device)
        self._sentinel = builder.prepare(self._sentinel_case, 0.1, {})
        self._order = job.first_order

    def group(self, cases: list[Case]) -> bool:
        """Visit one group.

        Returns:
            False when the device no longer works and this process cannot go on.
        """
        pool = Pool(self._builder)
        drift = [self._watch()]
        open_cases: dict[Case, _CaseSamples] = {}
        for case in cases:
            if self._prepare(pool, case):
                open_cases[case] = _CaseSamples()
            elif not self._recover(pool, case):
                return False
        for turn in range(self._job.protocol.rounds):
            drift.append(self._watch())
            for case in round_order(open_cases, self._job.seed, self._job.block, turn):
                if not self._sample(pool, case, open_cases[case]):
                    del open_cases[case]
                    if not self._recover(pool, case):
                        return False
        drift.append(self._watch())
        flags = {case: self._flags(samples, drift) for case, samples in open_cases.items()}
        return self._finish(pool, flags, drift)

    def _prepare(self, pool: Pool, case: Case) -> bool:
        """Make a case ready; False if that failed, with which it is over."""
        self._emit(events.Begin(case_id=case.id, stage="prepare"))
        order, self._order = self._order, self._order + 1
        try:
            bench = pool.prepare(case, _WARM_UP_SHARE * self._job.protocol.seconds_per_case)
        except Exception as error:
            self._finish_failed(case, error, order)
            return False
        self._emit(
            events.Prepared(
                case_id=case.id,
                order=order,
                facts=bench.facts,
                null_reasons=self._null_reasons() | bench.null_reasons,
                busy_seconds=bench.busy,
            )
        )
        return True

    def _sample(self, pool: Pool, case: Case, samples: _CaseSamples) -> bool:
        """Take the samples of one round; False if that failed, with which the case is over."""
        self._emit(events.Begin(case_id=case.id, stage="sample"))
        self._device.host.begin()
        try:
            result = pool.run(case, lambda bench: self._slice(bench, samples))
        except Exception as error:
            self._finish_failed(case, error)
            return False
        reading = self._device.host.read() | self._device.telemetry.read()
        samples.wall += result.wall
        samples.dry += result.dry
        samples.readings.append(reading)
        self._emit(
            events.Sampled(
                case_id=case.id,
                wall_seconds=result.wall,
                device_seconds=result.device,
                dry=result.dry,
                reading=reading,
                busy_seconds=result.busy,
            )
        )
        return True

    def _slice(self, bench: Bench, samples: _CaseSamples) -> Slice:
        """Sample for one round and note whether anything was compiled meanwhile."""
        protocol = self._job.protocol
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
        return self._builder.healthy()

    def _finish(self, pool: Pool, flags: dict[Case, list[str]], drift: list[float]) -> bool:
        """Finish cases whose rounds are done, each after its energy window if there is to be one.

        The windows come last: they heat the device, and nothing of the group is timed any more.
        """
        meter = self._meter
        if not isinstance(meter, NoMeter):
            for case in flags:
                self._emit(
                    events.Timed(case_id=case.id, flags=flags[case], sentinel_seconds=drift)
                )
        for case in flags:
            whole = isinstance(meter, NoMeter) or self._take_window(pool, case, meter)
            self._emit(
                events.Finished(
                    case_id=case.id, status="ok", flags=flags[case], sentinel_seconds=drift
                )
            )
            if not whole and not self._recover(pool, case):
                return False
        return True

    def _take_window(self, pool: Pool, case: Case, meter: Meter) -> bool:
        """Read the energy of one case; False if that failed, which costs it nothing else."""
        self._emit(events.Begin(case_id=case.id, stage="energy"))
        clock, protocol = self._device.clock, self._job.protocol
        seconds, limit = protocol.energy_seconds, _WINDOW_SHARE * protocol.timeout_seconds
        try:
            if case.devices > 1 and self._job.device != "cpu":
                raise Unsupported("the energy of one GPU is read, and this case uses several")
            window = pool.run(
                case,
                lambda bench: take_window(bench.call, clock, meter, seconds=seconds, limit=limit),
            )
        except Exception as error:
            status, reason = describe(error)
            reason = reason if status == "skipped" else f"{status}: {reason}"
            self._emit(events.Energy(case_id=case.id, reason=reason))
            return False
        about = {"seconds": window.seconds, "calls": window.calls, "watts": window.watts}
        self._emit(events.Energy(case_id=case.id, joules=window.joules_per_call, window=about))
        return True

    def _flags(self, samples: _CaseSamples, drift: list[float]) -> list[str]:
        """What to think of the times of a case whose rounds are done."""
        target = self._job.protocol.target_relative_error
        raised = {
            "unconverged": relative_half_width(samples.wall) > target,
            "too_few_samples": len(samples.wall) < ENOUGH_SAMPLES,
            "queue_dry": samples.dry > 0,
            "recompiled": samples.recompiled,
            "drift": max(drift) > (1 + _DRIFT) * min(drift),
        }
        own = [flag for flag, is_raised in raised.items() if is_raised]
        return sorted([*meters.flags(samples.readings), *own])

    def _finish_failed(self, case: Case, error: Exception, order: int | None = None) -> None:
        status, reason = describe(error)
        self._emit(events.Finished(case_id=case.id, status=status, reason=reason, order=order))

    def _watch(self) -> float:
        """Median time of the sentinel case right now."""
        self._builder.use(self._sentinel_case)
        times = [self._device.clock.wall(self._sentinel.call) for _ in range(_SENTINEL_CALLS)]
        self._emit(events.Sentinel(busy_seconds=sum(times)))
        return median(times)

    def _null_reasons(self) -> dict[str, str]:
        # Until its window has been taken, which takes the reason away.
        energy = "the case ended before its energy window"
        if isinstance(self._meter, NoMeter):
            energy = self._meter.reason
        reasons = {"energy_joules": energy}
        if self._job.device == "cpu":
            reasons["device_seconds"] = "the CPU is the host: it has no clock of its own"
        return reasons | dict(self._device.telemetry.null_reasons)


class Pool:
    """The cases of one group, kept ready side by side as far as memory allows.

    When half the memory is in use, or a case runs out of it, the others are let go; they are
    built again at their next visit.
    """

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._ready: dict[Case, Bench] = {}
        self._references: References = {}

    def prepare(self, case: Case, seconds: float) -> Bench:
        """Prepare ``case`` for the first time; see `Builder.prepare` for what can be raised."""
        return self._add(case, lambda: self._builder.prepare(case, seconds, self._references))

    def get(self, case: Case) -> Bench:
        """Return a case prepared before, building it again if it was let go."""
        if case in self._ready:
            self._builder.use(case)
            return self._ready[case]
        return self._add(case, lambda: self._builder.rebuild(case))

    def run(self, case: Case, take: Callable[[Bench], T]) -> T:
        """Do something with a case, and return what that returns or raise what it raises."""
        return self._with_room(case, lambda: take(self.get(case)))

    def drop(self, case: Case) -> None:
        """Let one case go, and with a CUDA graph all others.

        In torch 2.13 (not yet in 2.11) a graph that goes frees the workspace that cuBLAS keeps
        for the capture stream, and the others would replay with its memory (pytorch #193402).
        """
        gone = [case]
        if case.runtime == "graph":
            gone += [other for other in self._ready if other.runtime == "graph"]
        for dropped in gone:
            self._ready.pop(dropped, None)
        self._builder.drop(gone)

    def drop_all(self) -> None:
        """Let every case go."""
        gone = list(self._ready)
        self._ready.clear()
        self._builder.drop(gone)

    def _add(self, case: Case, build: Callable[[], Bench]) -> Bench:
        if self._ready and self._builder.device.memory.full():
            self.drop_all()
        self._ready[case] = self._with_room(case, build)
        return self._ready[case]

    def _with_room(self, case: Case, work: Callable[[], T]) -> T:
        """Do what a case needs; where memory runs out beside the others, again without them."""
        try:
            return work()
        except Exception as error:
            if self._ready.keys() <= {case} or not is_out_of_memory(error):
                raise
        self.drop_all()  # past the handler, whose traceback keeps tensors alive
        return work()


@dataclass
class _CaseSamples:
    """What a case has gathered over its rounds."""

    wall: list[float] = field(default_factory=list)
    dry: int = 0
    recompiled: bool = False
    readings: list[meters.Reading] = field(default_factory=list)


def sentinel_case(device: str) -> Case:
    """A small net that never changes: when its time moves, the machine has changed."""
    return Case.of(
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
