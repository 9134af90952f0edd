"""A visit to a group of cases: which events, in which order, whatever fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from paraformer_bench.instrument.bench import Bench, Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.energy import NoMeter
from paraformer_bench.instrument.gate import Mismatch
from paraformer_bench.instrument.meters import NoTelemetry
from paraformer_bench.instrument.visit import Visit
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.events import (
    Begin,
    Energy,
    Event,
    Finished,
    Prepared,
    Sampled,
    Sentinel,
    Timed,
)
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.record import Facts

T = TypeVar("T", bound=Event)


class Scene(Builder):
    """A visit whose cases take the time, or fail, as the test says.

    Attributes:
        events: What was emitted.
        seconds: Time of a call, by depth.
        fail_prepare: What preparing a case raises, by depth.
        fail_call: What timing a case raises, by depth.
        sentinel: Times of the sentinel's calls; the last one for ever.
        prepared_with: Seconds of warm-up that each case was given.
        compiles_at: Calls at which a case compiles, by depth, counted from 1.
        crowded: Depths of cases that find no memory beside the others.
        rebuilt: Depths of the cases that were built again, in order.
        fail_window: What a call in the energy window raises, by depth.
        fail_drop: What giving memory back raises.
        works: Whether the device is healthy.
    """

    def __init__(self, device: Device, cases: list[Case]) -> None:
        super().__init__(device, block=0)
        self.cases = cases
        self.events: list[Event] = []
        self.seconds: dict[int, float] = {}
        self.fail_prepare: dict[int, Exception] = {}
        self.fail_call: dict[int, Exception] = {}
        self.sentinel = [0.005]
        self.prepared_with: list[float] = []
        self.compiles_at: dict[int, int] = {}
        self.crowded: set[int] = set()
        self.rebuilt: list[int] = []
        self.fail_window: dict[int, Exception] = {}
        self.fail_drop: Exception | None = None
        self.works = True
        self.protocol = Protocol(
            rounds=3, seconds_per_case=0.3, target_relative_error=0.01, timeout_seconds=9
        )

    def prepare(self, case: Case, seconds: float, _: Any) -> Bench:
        if case.spec.width == 192:
            return Bench(self._sentinel_call)
        if case.depth in self.fail_prepare:
            raise self.fail_prepare[case.depth]
        self.prepared_with.append(seconds)
        return self._bench(case)

    def rebuild(self, case: Case) -> Bench:
        self.rebuilt.append(case.depth)
        return self._bench(case)

    def _bench(self, case: Case) -> Bench:

        calls: list[None] = []

        def call() -> float:
            calls.append(None)
            if case.depth in self.fail_call:
                raise self.fail_call[case.depth]
            if (
                case.depth in self.fail_window
                and getattr(self.events[-1], "stage", "") == "energy"
            ):
                raise self.fail_window[case.depth]
            if case.depth in self.crowded and case.depth not in self.rebuilt:
                raise MemoryError("others are here")
            return self.seconds.get(case.depth, 0.001)

        def compilations() -> int:
            return int(len(calls) >= self.compiles_at.get(case.depth, 10**9))

        reasons = {"reserved_bytes": "a test"}
        return Bench(call, Facts(flops=case.depth), 0.5, reasons, compilations)

    def drop(self, cases: Any) -> None:
        if self.fail_drop is not None:
            raise self.fail_drop

    def healthy(self) -> bool:
        return self.works

    def use_device(self, **parts: Any) -> None:
        self.device = dataclasses.replace(self.device, **parts)

    def measure_energy(self, meter: Any) -> None:
        self.use_device(meter=meter)
        self.protocol = replace(self.protocol, energy_seconds=2.0)

    def _sentinel_call(self) -> float:
        return self.sentinel.pop(0) if len(self.sentinel) > 1 else self.sentinel[0]

    def job(self, **changes: Any) -> BlockJob:
        job = BlockJob(device="cpu", block=0, protocol=self.protocol, seed=7, groups=[self.cases])
        return replace(job, **changes)

    def run(self, **changes: Any) -> bool:
        job = self.job(**changes)
        return Visit(self, job, self.events.append).group(self.cases)

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    def finished(self) -> dict[int, Finished]:
        depth = {case.id: case.depth for case in self.cases}
        return {depth[event.case_id]: event for event in self.of(Finished)}


@pytest.fixture
def scene(device: Device, make_case: Callable[..., Case]) -> Scene:
    return Scene(device, [make_case(depth=depth) for depth in (1, 2, 3, 4, 5)])


def steps(events: list[Event]) -> list[str]:
    return [
        f"{type(event).__name__.lower()} {getattr(event, 'stage', '')}".strip()
        for event in events
        if not isinstance(event, Sentinel)
    ]


def test_events_come_in_order(scene: Scene) -> None:
    assert scene.run()
    each_prepared = ["begin prepare", "prepared"] * 5
    each_sampled = ["begin sample", "sampled"] * 5
    assert steps(scene.events) == [*each_prepared, *each_sampled * 3, *["finished"] * 5]
    for begin, after in zip(scene.events, scene.events[1:], strict=False):
        if isinstance(begin, Begin):
            assert begin.case_id == after.case_id


def test_the_sentinel_is_watched_at_the_start_before_each_round_and_at_the_end(
    scene: Scene,
) -> None:
    scene.run()
    kinds = [type(event) for event in scene.events]
    assert kinds[0] == Sentinel
    assert kinds.count(Sentinel) == 5
    assert kinds[11] == kinds[22] == kinds[33] == kinds[44] == Sentinel
    assert all(event.busy_seconds == pytest.approx(7 * 0.005) for event in scene.of(Sentinel))


def test_prepared_tells_facts_order_and_time(scene: Scene) -> None:
    scene.run(first_order=10)
    prepared = scene.of(Prepared)
    assert [event.order for event in prepared] == [10, 11, 12, 13, 14]
    assert prepared[0].facts == Facts(flops=1)
    assert prepared[0].busy_seconds == 0.5
    assert set(prepared[0].null_reasons) == {
        "device_seconds",
        "energy_joules",
        "reserved_bytes",
    }
    # A quarter of the case's time goes to its warm-up.
    assert scene.prepared_with == pytest.approx([0.075] * 5)


def test_rounds_are_shuffled_anew_but_the_same_way_every_time(scene: Scene) -> None:
    def orders(**changes: Any) -> list[tuple[str, ...]]:
        scene.events.clear()
        scene.run(**changes)
        ids = [event.case_id for event in scene.of(Sampled)]
        return [tuple(ids[i : i + 5]) for i in (0, 5, 10)]

    first = orders()
    assert all(sorted(order) == sorted(case.id for case in scene.cases) for order in first)
    assert len(set(first)) == 3
    assert orders() == first
    assert orders(seed=8) != first
    assert orders(block=1) != first


def test_samples_are_what_the_clock_said(scene: Scene) -> None:
    scene.run()
    for event in scene.of(Sampled):
        assert event.wall_seconds == [0.001] * 10
        assert event.device_seconds == []
        assert event.dry == 0
        assert event.busy_seconds == pytest.approx(0.011)


def test_a_round_knows_of_the_rounds_before_it(scene: Scene) -> None:
    """A call that is slow beside its 0.1 s a round is made untimed in the first round alone."""
    scene.seconds[3] = 0.03
    scene.run()
    slow = [e for e in scene.of(Sampled) if e.case_id == scene.cases[2].id]
    assert [len(event.wall_seconds) for event in slow] == [3, 4, 4]
    assert [event.busy_seconds for event in slow] == pytest.approx([0.12] * 3)


def test_device_samples_and_readings_travel_along(
    scene: Scene, clock: Any, fake_telemetry: Any
) -> None:
    clock.device_seconds, clock.dry = 0.004, True
    throttled = fake_telemetry([{"throttle_bits": 0x40}])
    scene.use_device(telemetry=throttled)
    scene.run()
    for event in scene.of(Sampled):
        assert event.device_seconds == [0.004] * 10
        assert event.dry == 10
        assert event.reading == {"throttle_bits": 0x40}
    assert scene.finished()[1].flags == ["queue_dry", "throttled"]


def test_a_call_that_compiles_flags_its_case(scene: Scene) -> None:
    scene.compiles_at = {1: 1, 2: 15}
    scene.run()
    flagged = {d for d, event in scene.finished().items() if "recompiled" in event.flags}
    assert flagged == {1, 2}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("bad"), "error", "ValueError: bad"),
        (MemoryError("none left"), "oom", "none left"),
        (Mismatch("wrong"), "mismatch", "wrong"),
        (Unsupported("needs CUDA"), "skipped", "needs CUDA"),
    ],
)
@pytest.mark.parametrize("stage", ["prepare", "call"])
def test_a_case_that_fails_does_not_stop_the_others(
    scene: Scene, stage: str, error: Exception, status: str, reason: str
) -> None:
    failing = scene.fail_prepare if stage == "prepare" else scene.fail_call
    failing[3] = error
    assert scene.run()
    finished = scene.finished()
    assert {depth: event.status for depth, event in finished.items()} == {
        **dict.fromkeys((1, 2, 4, 5), "ok"),
        3: status,
    }
    assert finished[3].reason == reason
    assert finished[3].order == (2 if stage == "prepare" else None)
    # Once it has failed it is never begun again.
    at = scene.events.index(finished[3])
    assert scene.cases[2].id not in [
        getattr(event, "case_id", "") for event in scene.events[at + 1 :]
    ]


def test_a_case_that_finds_no_memory_beside_the_others_is_sampled_alone(scene: Scene) -> None:
    scene.crowded = {3}
    assert scene.run()
    assert {event.status for event in scene.finished().values()} == {"ok"}
    assert scene.rebuilt[0] == 3
    assert set(scene.rebuilt) >= {1, 2, 4, 5}  # in later rounds the others come back
    assert len([e for e in scene.of(Sampled) if e.case_id == scene.cases[2].id]) == 3


def test_a_case_is_closed_before_its_memory_is_given_back(scene: Scene) -> None:
    """Giving it back can crash on a broken device: by then the parent knows what happened."""
    scene.fail_prepare[1] = ValueError("bad")
    scene.fail_drop = RuntimeError("CUDA error: device-side assert triggered")
    assert not scene.run()
    assert isinstance(scene.events[-1], Finished)
    assert scene.events[-1].status == "error"


@pytest.mark.parametrize("stage", ["prepare", "call"])
def test_a_broken_device_ends_the_visit(scene: Scene, stage: str) -> None:
    (scene.fail_prepare if stage == "prepare" else scene.fail_call)[3] = RuntimeError("sticky")
    scene.works = False
    assert not scene.run()
    assert isinstance(scene.events[-1], Finished)
    assert list(scene.finished()) == [3]


def test_drift_is_flagged_and_its_times_are_kept(scene: Scene) -> None:
    scene.sentinel = [0.005] * 28 + [0.0056] * 7  # the last watch is 12% slower
    scene.run()
    for event in scene.finished().values():
        assert event.flags == ["drift"]
        assert event.sentinel_seconds == [0.005] * 4 + [0.0056]


def test_nine_percent_is_no_drift_nor_are_single_hiccups(scene: Scene) -> None:
    scene.sentinel = [0.005] * 28 + [0.00545] * 7
    scene.sentinel[2] = scene.sentinel[9] = 1.0
    scene.run()
    assert all(event.flags == [] for event in scene.finished().values())


def test_few_and_scattered_samples_are_flagged(scene: Scene) -> None:
    scene.seconds[3] = 0.2  # one sample fits into each of three rounds
    scene.run()
    finished = scene.finished()
    assert finished[3].flags == ["too_few_samples"]
    assert finished[1].flags == []


def test_a_sweep_of_one_round_with_one_sample_cannot_converge(scene: Scene) -> None:
    scene.protocol = replace(scene.protocol, rounds=1)
    scene.seconds[3] = 5.0
    scene.run()
    assert scene.finished()[3].flags == ["too_few_samples", "unconverged"]


def test_the_reason_for_missing_telemetry_is_told(scene: Scene) -> None:
    scene.use_device(telemetry=NoTelemetry("no NVML here"))
    scene.run()
    assert scene.of(Prepared)[0].null_reasons["telemetry"] == "no NVML here"


def test_the_reason_for_a_missing_field_of_telemetry_is_told(
    scene: Scene, fake_telemetry: Any
) -> None:
    readings = fake_telemetry()
    readings.null_reasons["telemetry.throttle_bits"] = "NVML: Not Supported"
    scene.use_device(telemetry=readings)
    scene.run()
    for event in scene.of(Prepared):
        assert event.null_reasons["telemetry.throttle_bits"] == "NVML: Not Supported"


def test_a_crash_of_whoever_reads_the_events_is_not_the_case_s_fault(scene: Scene) -> None:
    class Gone(Exception):
        pass

    def emit(event: Event) -> None:
        if isinstance(event, Prepared):
            raise Gone

    with pytest.raises(Gone):
        Visit(scene, scene.job(), emit).group(scene.cases)


# Energy


class Meter:
    """Of a device that takes 300 W all the time; its counter moves every 50 ms, or never."""

    source = "a test"

    def __init__(self, clock: Any, tick: float = 0.05) -> None:
        self._clock = clock
        self._tick = tick

    def begin(self) -> None:
        pass

    def read(self) -> float:
        return 300.0 * (self._clock.time // self._tick) * self._tick


def test_without_a_window_energy_is_null_and_says_which_key_asks_for_it(
    scene: Scene, clock: Any
) -> None:
    scene.use_device(meter=Meter(clock))
    scene.run()
    assert scene.of(Energy) == scene.of(Timed) == []
    for event in scene.of(Prepared):
        assert event.null_reasons["energy_joules"] == (
            "the suite asks for no energy window: set energy_seconds in its [protocol]"
        )


def test_without_a_meter_no_window_is_run(scene: Scene, clock: Any) -> None:
    scene.run()
    calls = clock.calls
    scene.events.clear()
    scene.measure_energy(NoMeter("permission denied on energy_uj"))
    scene.run()
    assert clock.calls == 2 * calls
    assert scene.of(Energy) == scene.of(Timed) == []
    for event in scene.of(Prepared):
        assert event.null_reasons["energy_joules"] == "permission denied on energy_uj"


def test_every_case_has_a_window_after_all_rounds(scene: Scene, clock: Any) -> None:
    scene.run()
    samples = [(event.case_id, event.wall_seconds) for event in scene.of(Sampled)]
    scene.events.clear()
    scene.measure_energy(Meter(clock))
    scene.seconds = {depth: depth * 1e-3 for depth in (1, 2, 3, 4, 5)}
    assert scene.run()
    last = [*["timed"] * 5, *["begin energy", "energy", "finished"] * 5]
    assert steps(scene.events)[-20:] == last
    for case, event in zip(scene.cases, scene.of(Energy), strict=True):
        assert event.case_id == case.id
        assert event.joules == pytest.approx(0.3 * case.depth, rel=0.005)
        window = event.window
        assert window["seconds"] == pytest.approx(2.05, abs=0.06)
        assert window["watts"] == pytest.approx(300, rel=0.005)
        assert window["calls"] * case.depth * 1e-3 == pytest.approx(window["seconds"])
        assert not hasattr(event, "busy_seconds")  # no call of a window is a timed one
    # What is timed is what is timed without windows.
    assert [case_id for case_id, _ in samples] == [e.case_id for e in scene.of(Sampled)]
    assert [len(wall) for _, wall in samples] == [len(e.wall_seconds) for e in scene.of(Sampled)]
    for event in scene.of(Prepared):
        reason = event.null_reasons["energy_joules"]
        assert reason == "the case ended before its energy window"


def test_flags_are_told_before_the_windows_and_with_the_end(scene: Scene, clock: Any) -> None:
    scene.measure_energy(Meter(clock))
    scene.sentinel = [0.005] * 28 + [0.0056] * 7
    scene.run()
    for early, late in zip(scene.of(Timed), scene.of(Finished), strict=True):
        assert early.flags == late.flags == ["drift"]
        assert early.sentinel_seconds == late.sentinel_seconds == [0.005] * 4 + [0.0056]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("worn out\nsecond line"), "error: ValueError: worn out"),
        (MemoryError("none left"), "oom: none left"),
        (Unsupported("NVML reads no energy"), "NVML reads no energy"),
    ],
)
def test_a_window_that_fails_costs_energy_alone(
    scene: Scene, clock: Any, error: Exception, reason: str
) -> None:
    scene.measure_energy(Meter(clock))
    scene.fail_window[3] = error
    assert scene.run()
    assert {event.status for event in scene.finished().values()} == {"ok"}
    energy = {event.case_id: event for event in scene.of(Energy)}
    failed = energy.pop(scene.cases[2].id)
    assert (failed.joules, failed.reason) == (None, reason)
    assert failed.window is None
    assert all(event.joules > 0 for event in energy.values())
    assert len(energy) == 4


def test_of_several_gpus_no_energy_is_read(scene: Scene, clock: Any) -> None:
    scene.measure_energy(Meter(clock))
    scene.cases[1] = scene.cases[1].replace(devices=2)
    job = replace(scene.job(), device="cuda:0")
    assert Visit(scene, job, scene.events.append).group(scene.cases)
    energy = {event.case_id: event for event in scene.of(Energy)}
    failed = energy.pop(scene.cases[1].id)
    assert failed.joules is None
    assert "this case uses several" in failed.reason
    assert all(event.joules > 0 for event in energy.values())


def test_a_case_that_fails_before_has_no_window(scene: Scene, clock: Any) -> None:
    scene.measure_energy(Meter(clock))
    scene.fail_call[2] = ValueError("bad")
    scene.fail_prepare[4] = ValueError("bad")
    assert scene.run()
    assert len(scene.of(Energy)) == len(scene.of(Timed)) == 3


def test_a_broken_device_ends_the_visit_after_its_case_is_finished(
    scene: Scene, clock: Any
) -> None:
    scene.measure_energy(Meter(clock))
    scene.fail_window[3] = RuntimeError("sticky")
    scene.works = False
    assert not scene.run()
    assert list(scene.finished()) == [1, 2, 3]
    assert steps(scene.events)[-3:] == ["begin energy", "energy", "finished"]
    assert scene.events[-1].status == "ok"
    assert len(scene.of(Timed)) == 5


def test_a_window_that_finds_no_memory_beside_the_others_is_taken_alone(
    scene: Scene, clock: Any
) -> None:
    scene.measure_energy(Meter(clock))
    crowded = scene.cases[2]

    def emit(event: Event) -> None:
        scene.events.append(event)
        if isinstance(event, Begin) and event.stage == "energy" and event.case_id == crowded.id:
            scene.crowded = {crowded.depth}
            scene.rebuilt.clear()

    assert Visit(scene, scene.job(), emit).group(scene.cases)
    assert scene.rebuilt == [3, 4, 5]
    assert all(event.joules > 0 for event in scene.of(Energy))


def test_a_counter_that_stands_still_ends_as_null(scene: Scene, clock: Any) -> None:
    scene.measure_energy(Meter(clock, tick=1e9))
    assert scene.run()
    assert {event.reason for event in scene.of(Energy)} == {
        "the energy counter did not move within 1 s"
    }


def test_a_window_ends_before_the_timeout(scene: Scene, clock: Any) -> None:
    """Calls of 3 s: a window of them does not fit into 90% of 9 s."""
    scene.measure_energy(Meter(clock))
    scene.seconds[3] = 3.0
    began: dict[str, float] = {}
    took: dict[str, float] = {}

    def emit(event: Event) -> None:
        scene.events.append(event)
        if isinstance(event, Begin) and event.stage == "energy":
            began[event.case_id] = clock.time
        if isinstance(event, Energy):
            took[event.case_id] = clock.time - began[event.case_id]

    assert Visit(scene, scene.job(), emit).group(scene.cases)
    assert max(took.values()) < scene.protocol.timeout_seconds
    [failed] = [event for event in scene.of(Energy) if event.joules is None]
    assert failed.case_id == scene.cases[2].id
    assert "within timeout_seconds: a call takes 3 s" in failed.reason
