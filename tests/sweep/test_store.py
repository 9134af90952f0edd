from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, RUN, RunInfo, read_records, read_run
from paraformer_bench.sweep import store as store_module
from paraformer_bench.sweep.store import Store


@pytest.fixture
def cases(case_of) -> list[Case]:
    return [case_of(depth) for depth in (1, 2, 4)]


@pytest.fixture
def records(cases: list[Case]) -> list[Record]:
    return [
        Record(case=case, block=0, order=i, status="ok", wall_seconds=[1.0])
        for i, case in enumerate(cases)
    ]


def failed(case: Case, block: int, reason: str) -> Record:
    return Record(case=case, block=block, order=0, status="error", reason=reason)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "run"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_create_write_read(folder: Path, records: list[Record]) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records[:2])
        store.append(records[2:])
        assert store.done == {record.key for record in records}
        # Others can read while it is open.
        assert read_run(folder).records == records
    assert names(folder) == sorted([RUN, RECORDS])
    run = read_run(folder)
    assert (run.info, run.records, run.warnings) == (RunInfo(name="x"), records, [])


def test_record_that_is_there_is_not_written_again(folder: Path, records: list[Record]) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records)
        store.append([failed(records[0].case, 0, "later")])
    assert read_run(folder).records == records
    with Store.resume(folder, []) as store:
        store.append([failed(records[0].case, 0, "later still")])
        store.append([failed(records[0].case, 1, "another block")])
    assert [r.reason for r in read_run(folder).records] == [None, None, None, "another block"]


def test_update_replaces_run_json(folder: Path) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        store.update(finished="now", name="y")
        assert store.info == RunInfo(name="y", finished="now")
    assert read_run(folder).info == RunInfo(name="y", finished="now")
    assert names(folder) == sorted([RUN, RECORDS])


def test_create_leaves_other_runs_alone(folder: Path, records: list[Record]) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="already holds a run: add --resume or name another"):
        Store.create(folder, RunInfo(name="y"))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (folder / RUN).unlink()  # records alone are somebody's, too
    with pytest.raises(UsageError, match="already holds a run"):
        Store.create(folder, RunInfo(name="y"))


def test_create_takes_over_a_folder_that_came_to_nothing(folder: Path) -> None:
    """Killed between its first two files, a sweep leaves an empty one; nothing is lost in it."""
    folder.mkdir(parents=True)
    (folder / RECORDS).touch()
    with Store.create(folder, RunInfo(name="x")):
        pass
    assert read_run(folder).info == RunInfo(name="x")


def test_create_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^cannot write to .*file/run: Not a directory$"):
        Store.create(tmp_path / "file" / "run", RunInfo(name="x"))


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run folder: it has no run\.json"):
        Store.resume(tmp_path, [])
    assert names(tmp_path) == []


def test_one_writer_at_a_time(folder: Path, records: list[Record]) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records[:1])
        with pytest.raises(UsageError, match=r"^another sweep is writing to "):
            Store.resume(folder, [])
        store.append(records[1:])
    assert read_run(folder).records == records
    with Store.resume(folder, []) as store:
        assert len(store.done) == 3


def test_resume_reads_the_records_only_once_it_is_alone(
    folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other sweep may write its last record just before it lets go of the folder."""
    other = Store.create(folder, RunInfo(name="x"))
    lock = Store._lock

    def lock_at_last(store: Store) -> None:
        with other:
            other.append(records[:1])
        lock(store)

    monkeypatch.setattr(Store, "_lock", lock_at_last)
    with Store.resume(folder, []) as store:
        store.append(records)
    assert read_records(folder / RECORDS) == (records, [])


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_torn_last_line_is_cut(folder: Path, records: list[Record], kept: int) -> None:
    """``kept`` characters of the second line are there; with -1 all but its newline."""
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records[:1])
    whole = (folder / RECORDS).read_bytes()
    torn = records[1].line()[:kept]
    (folder / RECORDS).write_bytes(whole + torn)
    with Store.resume(folder, []) as store:
        torn_too = bool(torn)
        assert store.warnings == ["records.jsonl line 2 dropped: torn (no newline at its end)"] * (
            torn_too
        )
        assert store.done == {records[0].key}
        assert (folder / RECORDS).read_bytes() == whole
        store.append(records)
    assert read_records(folder / RECORDS) == (records, [])


def test_broken_line_elsewhere_is_told_and_its_case_measured_again(
    folder: Path, records: list[Record]
) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records)
    lines = (folder / RECORDS).read_bytes().splitlines(keepends=True)
    (folder / RECORDS).write_bytes(lines[0] + b"{rubbish}\n" + lines[2])
    with Store.resume(folder, []) as store:
        [warning] = store.warnings
        assert warning.startswith("records.jsonl line 2 dropped: ")
        assert store.done == {records[0].key, records[2].key}


class FailingFile(io.FileIO):
    """Takes ``room`` more bytes, then says that the disk is full."""

    room = 10**9

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(bytes(data)[: self.room])
        self.room -= written
        return written


def test_append_writes_a_whole_line_or_nothing(
    folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_open_for_append", lambda path: FailingFile(path, "a"))
    line = len(records[0].line())
    for room in (0, 1, line - 1, line, line + 1, 2 * line - 1):
        path = folder.with_name(f"run{room}")
        with Store.create(path, RunInfo(name="x")) as store:
            store._records.room = room
            with pytest.raises(OSError, match="No space left"):
                store.append(records)
            whole = records[: room // line]
            assert (path / RECORDS).read_bytes() == b"".join(r.line() for r in whole)
            assert store.done == {record.key for record in whole}
            store._records.room = 10**9  # somebody has made room
            store.append(records)
        assert read_records(path / RECORDS) == (records, [])


def test_short_writes_are_gone_on_with(
    folder: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return super().write(bytes(data)[:7])

    monkeypatch.setattr(store_module, "_open_for_append", lambda path: Slow(path, "a"))
    with Store.create(folder, RunInfo(name="x")) as store:
        store.append(records)
    assert read_records(folder / RECORDS) == (records, [])


def test_run_json_survives_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.create(folder, RunInfo(name="x")) as store:
        before = (folder / RUN).read_bytes()

        def write_bytes(path: Path, data: bytes) -> int:
            path.write_text(data.decode()[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", write_bytes)
        with pytest.raises(OSError, match="No space left"):
            store.update(finished="now")
    assert (folder / RUN).read_bytes() == before
    assert names(folder) == sorted([RUN, RECORDS])
