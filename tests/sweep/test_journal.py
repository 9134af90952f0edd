"""The journal: what a killed sweep had measured becomes records when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paraformer_bench.study import wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Event, Ready, Sentinel
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import (
    JOURNAL,
    RECORDS,
    RunInfo,
    read_records,
    read_run,
)
from paraformer_bench.sweep.store import Store


@pytest.fixture
def cases(case_of) -> list[Case]:
    return [case_of(depth) for depth in (1, 2, 4)]


def ok(case: Case, block: int, wall: list[float], **fields: object) -> Record:
    fields = {"order": 0, "status": "ok"} | fields
    return Record(case=case, block=block, wall_seconds=wall, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_journal_keeps_the_events_that_hold_samples(folder: Path, cases, events) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        fed = [
            Ready(),
            events.begin(cases[0]),
            events.prepared(cases[0]),
            Sentinel(busy_seconds=1.0),
            events.sampled(cases[0], [1.0]),
            events.finished(cases[0]),
            events.timed(cases[0]),
            events.energy(cases[0]),
        ]
        for event in fed:
            store.journal(7, event)
        lines = [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]
        assert lines == [{"block": 7} | wire.plain(fed[i]) for i in (2, 4, 5, 6, 7)]
        store.clear_journal(7)
        store.journal(8, fed[4])
        [line] = (folder / JOURNAL).read_text().splitlines()
        assert json.loads(line)["block"] == 8
    assert (folder / JOURNAL).exists()  # it holds something that is in no record
    with Store.resume(folder, cases):
        pass
    assert not (folder / JOURNAL).exists()


def test_journal_keeps_the_events_of_other_blocks_under_way(folder: Path, cases, events) -> None:
    """Several blocks at once: the end of one must not cost another its samples."""
    case = cases[0]
    with Store.create(folder, RunInfo(name="x")) as store:
        for block in (3, 4):
            store.journal(block, events.prepared(case, machine={"host": f"h{block}"}))
            store.journal(block, events.sampled(case, [1.0, 2.0]))
        store.append([ok(case, 3, [1.0, 2.0], rounds=[2])])
        store.clear_journal(3)
        saved = (folder / JOURNAL).read_bytes()
        store.clear_journal(4)
        assert (folder / JOURNAL).read_bytes() == b""
    (folder / JOURNAL).write_bytes(saved)  # as if it had been killed before block 4 was done
    with Store.resume(folder, cases) as store:
        assert store.done == {(case.id, 3), (case.id, 4)}
    records = read_run(folder).records
    assert [(r.block, r.wall_seconds, r.flags) for r in records] == [
        (3, [1.0, 2.0], []),
        (4, [1.0, 2.0], ["interrupted", "too_few_samples"]),
    ]
    assert records[1].telemetry["machine"] == {"host": "h4"}


def abandoned(folder: Path, journal: list[tuple[int, Event]], torn: str = "") -> None:
    """Leave a run folder as a killed sweep does."""
    store = Store.create(folder, RunInfo(name="x"))
    for block, event in journal:
        store.journal(block, event)
    store._records.close()
    store._journal.close()
    with (folder / JOURNAL).open("a") as file:
        file.write(torn)


def test_journal_becomes_records(folder: Path, cases: list[Case], events) -> None:
    one, two, three = cases
    journal = [
        (3, events.prepared(one, order=0)),
        (3, events.prepared(two, order=1)),
        (3, events.prepared(three, order=2)),
        (3, events.sampled(two, [2.0] * 5)),
        (3, events.sampled(one, [1.0])),
        (3, events.sampled(two, [3.0])),
        (3, events.finished(two, flags=["drift"])),
    ]
    abandoned(folder, journal)
    with Store.resume(folder, cases) as store:
        assert store.done == {(one.id, 3), (two.id, 3)}
        assert (folder / JOURNAL).stat().st_size == 0
    finished, salvaged = read_run(folder).records
    assert (finished.case, finished.wall_seconds, finished.flags) == (
        two,
        [2.0] * 5 + [3.0],
        ["drift"],
    )
    assert (salvaged.case, salvaged.block, salvaged.order) == (one, 3, 0)
    assert (salvaged.status, salvaged.wall_seconds) == ("ok", [1.0])
    assert salvaged.flags == ["interrupted", "too_few_samples"]


def test_a_sweep_killed_in_an_energy_window_keeps_times_and_flags(
    folder: Path, cases: list[Case], events
) -> None:
    one, two, three = cases
    reasons = {"energy_joules": "before its window"}
    journal: list = [(3, events.prepared(case, null_reasons=reasons)) for case in cases]
    journal += [(3, events.sampled(case, [1.0] * 5)) for case in cases]
    journal += [(3, events.timed(case, flags=["drift"])) for case in (one, two)]
    journal += [(3, events.energy(one))]
    abandoned(folder, journal)
    with Store.resume(folder, cases):
        pass
    found = {record.case: record for record in read_run(folder).records}
    assert {record.status for record in found.values()} == {"ok"}
    assert (found[one].energy_joules, found[one].null_reasons) == (0.25, {})
    assert found[one].flags == found[two].flags == ["drift"]
    assert found[two].null_reasons == {"energy_joules": "before its window"}
    assert found[three].flags == ["interrupted"]


def test_torn_line_of_the_journal_is_dropped(folder: Path, cases: list[Case], events) -> None:
    torn = json.dumps({"block": 0} | wire.plain(events.sampled(cases[0], [9.0] * 9)))[:-20]
    abandoned(folder, [(0, events.sampled(cases[0], [1.0] * 5))], torn)
    with Store.resume(folder, cases):
        pass
    [record] = read_run(folder).records
    assert record.wall_seconds == [1.0] * 5


def test_journal_of_a_record_that_reached_the_disk(folder: Path, cases, events) -> None:
    """Killed after the record was written and before the journal was emptied."""
    journal = [
        (0, events.prepared(cases[0])),
        (0, events.sampled(cases[0], [1.0] * 5)),
        (0, events.finished(cases[0])),
    ]
    abandoned(folder, journal)
    written = ok(cases[0], 0, [1.0] * 5)
    (folder / RECORDS).write_bytes(written.line())
    with Store.resume(folder, cases):
        pass
    assert read_records(folder / RECORDS) == ([written], [])


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "7",
        "null",
        "{}",
        '{"event": "prepared"}',
        '{"event": "prepared", "block": 0, "case_id": "another"}',
        '{"event": "prepared", "block": 0, "case_id": []}',
        '{"event": "prepared", "block": {}, "case_id": "another"}',
        '{"event": "sampled", "block": 0, "case_id": "CASE", "wall_seconds": [9.0]}',
        '{"event": "finished", "block": 0, "case_id": "CASE", "status": "fine"}',
        '{"event": "finished", "block": 0, "case_id": "CASE", "status": "ok", "flags": 3}',
        '{"event": "sampled", "block": 1, "case_id": "CASE", "wall_seconds": "ab", '
        '"device_seconds": [], "dry": 0, "reading": {}}',
        '{"event": "prepared", "block": 1, "case_id": "CASE", "order": 0, "null_reasons": {}, '
        '"busy_seconds": 0.5, "facts": {"peak_bytes": "x"}}',
        '{"event": "sampled", "block": "x", "case_id": "CASE", "wall_seconds": [9.0], '
        '"device_seconds": [], "dry": 0, "reading": {}}',
        '{"event": "sampled", "block": 1, "case_id": "CASE", "wall_seconds": [NaN], '
        '"device_seconds": [], "dry": 0, "reading": {}}',
    ],
)
def test_a_line_that_makes_no_sense_is_skipped(
    folder: Path, cases: list[Case], events, line: str
) -> None:
    abandoned(folder, [(0, events.sampled(cases[0], [1.0] * 5))])
    after = json.dumps({"block": 0} | wire.plain(events.sampled(cases[0], [2.0] * 2)))
    with (folder / JOURNAL).open("a") as file:
        file.write(line.replace("CASE", cases[0].id) + "\n" + after + "\n")
    with Store.resume(folder, cases) as store:
        [warning] = store.warnings
        assert warning.startswith(("journal.jsonl line 2 dropped: ", "a record of journal.jsonl"))
    [record] = read_run(folder).records
    assert (record.block, record.wall_seconds) == (0, [1.0] * 5 + [2.0] * 2)
    assert (record.status, record.reason, record.flags) == ("ok", None, ["interrupted"])


def test_nesting_without_end_in_the_journal_is_dropped(folder: Path, cases, events) -> None:
    abandoned(folder, [(0, events.sampled(cases[0], [1.0] * 5))], "[" * 200_000)
    with Store.resume(folder, cases) as store:
        assert store.done == {(cases[0].id, 0)}


def test_journal_of_the_version_before(folder: Path, cases: list[Case]) -> None:
    """Its events were written by hand: each had what it needed and nothing else."""
    facts = {
        "operations": 46,
        "flops": 8681472,
        "work": [["clone", 1, 0, 98304], ["addmm", 1, 1572864, 250112]],
        "parameter_bytes": 1261728,
        "relative_error": 3.75e-07,
        "compile_seconds": None,
        "warmup_calls": 1,
        "peak_bytes": 1921024,
        "reserved_bytes": None,
    }
    reading = {"others_cores": 0.05, "cpu_clock_hz": 2.4e9}
    label = {"flags": ["drift"], "sentinel_seconds": [1e-3, 2e-3]}
    window = {"seconds": 2.0, "calls": 400, "watts": 50.0}
    rest = {"device_seconds": [], "dry": 0, "reading": reading, "busy_seconds": 0.1}
    reasons = {"null_reasons": {"energy_joules": "before its window"}}

    def lines(case: Case) -> list[dict[str, object]]:
        return [
            {"event": "prepared", "order": 0, "facts": facts, "busy_seconds": 0.2} | reasons,
            {"event": "sampled", "wall_seconds": [1e-3] * 5} | rest,
            {"event": "sampled", "wall_seconds": [2e-3] * 5} | rest,
            {"event": "timed"} | label,
            {"event": "energy", "joules": 0.25, "window": window},
            {"event": "finished", "status": "ok", "reason": None} | label,
        ]

    whole, interrupted, failed = cases
    written = [{"block": 2, "case_id": whole.id} | line for line in lines(whole)]
    written += [{"block": 2, "case_id": interrupted.id} | line for line in lines(whole)[:2]]
    ending = {"status": "oom", "reason": "too big", "flags": [], "order": 7}
    written += [{"block": 2, "event": "finished", "case_id": failed.id} | ending]
    abandoned(folder, [])
    (folder / JOURNAL).write_text("".join(json.dumps(line) + "\n" for line in written))
    with Store.resume(folder, cases) as store:
        assert store.warnings == []
    records = {record.case: record for record in read_run(folder).records}
    assert records[whole] == Record(
        case=whole,
        block=2,
        order=0,
        status="ok",
        wall_seconds=[1e-3] * 5 + [2e-3] * 5,
        rounds=[5, 5],
        energy_joules=0.25,
        flags=["drift"],
        telemetry={
            "readings": [reading, reading],
            "sentinel_seconds": [1e-3, 2e-3],
            "energy": window,
        },
        work=[("clone", 1, 0, 98304), ("addmm", 1, 1572864, 250112)],
        **{name: value for name, value in facts.items() if name != "work"},
    )
    assert records[interrupted].wall_seconds == [1e-3] * 5
    assert records[interrupted].flags == ["interrupted"]
    assert (records[failed].status, records[failed].reason) == ("oom", "too big")
    assert records[failed].order == 7
