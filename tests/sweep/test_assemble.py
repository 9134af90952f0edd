from __future__ import annotations

import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Done, Ready, Sentinel
from paraformer_bench.study.record import Record
from paraformer_bench.sweep.assemble import Assembly


@pytest.fixture
def one(case_of) -> Case:
    return case_of(1)


@pytest.fixture
def two(case_of) -> Case:
    return case_of(2)


@pytest.fixture
def assembly(one: Case, two: Case) -> Assembly:
    return Assembly(5, [one, two])


def test_events_of_a_case_become_its_record(assembly: Assembly, one: Case, events) -> None:
    feed = [
        events.begin(one),
        events.prepared(one, order=3, warmup_calls=9, relative_error=1e-7),
        events.begin(one),
        events.sampled(one, [1.0, 2.0], device_seconds=[0.5], dry=1, reading={"clock": 1}),
        events.begin(one),
        events.sampled(one, [3.0], device_seconds=[0.25], dry=2, reading={"clock": 2}),
        Sentinel(busy_seconds=1.0),
    ]
    assert [assembly.add(event) for event in feed] == [None] * len(feed)
    done = events.finished(one, flags=["drift"], sentinel_seconds=[0.1, 0.2])
    assert assembly.add(done) == Record(
        case=one,
        block=5,
        order=3,
        status="ok",
        wall_seconds=[1.0, 2.0, 3.0],
        device_seconds=[0.5, 0.25],
        rounds=[2, 1],
        parameter_bytes=64,
        flops=128,
        warmup_calls=9,
        relative_error=1e-7,
        telemetry={
            "dry_samples": 3,
            "readings": [{"clock": 1}, {"clock": 2}],
            "sentinel_seconds": [0.1, 0.2],
        },
        null_reasons={"device_seconds": "no clock"},
        flags=["drift"],
    )
    assert assembly.idle


def test_cpu_has_no_device_times(assembly: Assembly, one: Case, events) -> None:
    for event in (events.prepared(one), events.sampled(one, [1.0])):
        assembly.add(event)
    record = assembly.add(events.finished(one))
    assert record.device_seconds is None
    assert record.telemetry == {}


def test_case_that_failed_before_it_was_prepared(assembly: Assembly, one: Case, events) -> None:
    assembly.add(events.begin(one))
    record = assembly.add(events.finished(one, status="oom", reason="too big", order=7))
    assert record == Record(case=one, block=5, order=7, status="oom", reason="too big")


def test_case_that_failed_while_sampled_keeps_its_place(assembly, one: Case, events) -> None:
    assembly.add(events.prepared(one, order=2))
    assembly.add(events.begin(one))
    record = assembly.add(events.finished(one, status="error", reason="worn", order=None))
    assert (record.order, record.status, record.reason) == (2, "error", "worn")


def test_cases_do_not_mix(assembly: Assembly, one: Case, two: Case, events) -> None:
    for event in (
        events.prepared(one),
        events.prepared(two),
        events.sampled(two, [2.0]),
        events.sampled(one, [1.0]),
        events.sampled(two, [2.5]),
    ):
        assembly.add(event)
    assert assembly.add(events.finished(two)).wall_seconds == [2.0, 2.5]
    assert not assembly.idle
    assert assembly.add(events.finished(one)).wall_seconds == [1.0]
    assert assembly.idle


def test_current_is_the_case_whose_step_is_under_way(assembly, one: Case, two, events) -> None:
    assert assembly.current is None
    assembly.add(events.begin(one))
    assert assembly.current == one.id
    assembly.add(Sentinel(busy_seconds=1.0))
    assert assembly.current == one.id
    assembly.add(events.prepared(one))
    assert assembly.current is None
    assembly.add(events.begin(two))
    assert assembly.current == two.id


def test_fail_current(assembly: Assembly, one: Case, two: Case, events) -> None:
    assert assembly.fail_current("error", "nobody is under way") is None
    assembly.add(events.prepared(one))
    assembly.add(events.begin(two))
    assert assembly.fail_current("timeout", "no answer") == Record(
        case=two, block=5, status="timeout", reason="no answer"
    )
    assert assembly.current is None
    assert not assembly.idle  # the other one is still open
    assert assembly.fail_current("timeout", "once is enough") is None


def test_case_that_dies_while_sampled_keeps_what_it_had(assembly, one: Case, events) -> None:
    for event in (
        events.prepared(one, order=1),
        events.sampled(one, [1.0] * 9),
        events.begin(one),
    ):
        assembly.add(event)
    record = assembly.fail_current("error", "killed")
    assert (record.status, record.reason, record.rounds) == ("error", "killed", [9])
    assert record.wall_seconds == [1.0] * 9


def up_to_the_window(assembly: Assembly, case: Case, events) -> None:
    reasons = {"energy_joules": "before its window"}
    for event in (
        events.prepared(case, order=1, null_reasons=reasons),
        events.sampled(case, [1.0] * 9),
        events.timed(case, flags=["drift"], sentinel_seconds=[0.1, 0.2]),
        events.begin(case, "energy"),
    ):
        assembly.add(event)


def test_energy_of_a_call(assembly: Assembly, one: Case, events) -> None:
    up_to_the_window(assembly, one, events)
    assembly.add(events.energy(one))
    record = assembly.add(events.finished(one, flags=["drift"]))
    assert record.energy_joules == 0.25
    assert record.telemetry["energy"] == {"seconds": 2.0, "calls": 400, "watts": 50.0}
    assert record.null_reasons == {}
    assert record.flags == ["drift"]


def test_energy_that_could_not_be_read(assembly: Assembly, one: Case, events) -> None:
    up_to_the_window(assembly, one, events)
    assembly.add(events.energy(one, joules=None, reason="the counter stood still"))
    record = assembly.add(events.finished(one))
    assert (record.status, record.energy_joules) == ("ok", None)
    assert record.null_reasons == {"energy_joules": "the counter stood still"}
    assert "energy" not in record.telemetry


def test_a_window_that_kills_its_worker_costs_no_times(assembly, one: Case, two, events) -> None:
    up_to_the_window(assembly, two, events)
    up_to_the_window(assembly, one, events)
    record = assembly.fail_current("timeout", "no answer within 7 s")
    assert (record.case, record.status, record.reason) == (one, "ok", None)
    assert (record.wall_seconds, record.flags) == ([1.0] * 9, ["drift"])
    assert record.telemetry["sentinel_seconds"] == [0.1, 0.2]
    assert record.null_reasons == {"energy_joules": "timeout: no answer within 7 s"}
    [other] = assembly.salvage()
    assert (other.case, other.status, other.flags) == (two, "ok", ["drift"])
    assert (other.wall_seconds, other.telemetry["sentinel_seconds"]) == ([1.0] * 9, [0.1, 0.2])
    assert other.null_reasons == {"energy_joules": "before its window"}


def test_salvage(assembly: Assembly, one: Case, two: Case, events) -> None:
    """Samples are kept and flagged; a case that is only prepared will be visited again."""
    for event in (events.prepared(one), events.prepared(two), events.sampled(two, [1.0] * 5)):
        assembly.add(event)
    [record] = assembly.salvage()
    assert (record.case, record.status, record.flags) == (two, "ok", ["interrupted"])
    assert record.wall_seconds == [1.0] * 5
    assert assembly.idle
    assert assembly.salvage() == []


def test_salvage_of_few_samples_says_so(assembly: Assembly, one: Case, events) -> None:
    assembly.add(events.sampled(one, [1.0] * 4))
    [record] = assembly.salvage()
    assert record.flags == ["interrupted", "too_few_samples"]


def test_events_of_other_kinds_are_ignored(assembly: Assembly) -> None:
    for event in (Ready(), Sentinel(busy_seconds=1.0), Done()):
        assert assembly.add(event) is None
    assert assembly.idle
