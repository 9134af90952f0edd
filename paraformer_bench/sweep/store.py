"""Writing the run folder: append, flush, resume. Nothing measured is ever lost."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec import Struct

from paraformer_bench.study import events, wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import (
    JOURNAL,
    RECORDS,
    RUN,
    RunInfo,
    as_json,
    read_info,
    read_lines,
    read_records,
    write_whole,
)
from paraformer_bench.sweep.assemble import Assembly

_KEPT_EVENTS = (
    events.Prepared,
    events.Sampled,
    events.Timed,
    events.Energy,
    events.Finished,
)
_EVENTS = wire.decoder(events.ANY)


class _Place(Struct):
    """What a line of the journal holds beside its event: the index of the block."""

    block: int


_PLACES = wire.decoder(_Place)


class Store:
    """The one writer of a run folder. Open it with `create` or `resume`; close it by ``with``.

    Attributes:
        folder: The run folder.
        info: Contents of ``run.json``; change it through `update`.
        done: Case id and block of every record in the folder.
        warnings: What had to be repaired on opening, one line each.
    """

    def __init__(self, folder: Path, info: RunInfo) -> None:
        self.folder = folder
        self.info = info
        self._records = _open_for_append(folder / RECORDS)
        self._lock()
        # Read only now: until the lock was held, another sweep may have been writing.
        records, self.warnings = read_records(folder / RECORDS)
        self.done = {record.key for record in records}
        self._journal = _open_for_append(folder / JOURNAL)
        self._open_blocks: set[int] = set()

    @classmethod
    def create(cls, folder: Path, info: RunInfo) -> Store:
        """Start a run in a folder that holds none.

        Raises:
            UsageError: The folder holds a run or cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / RUN).exists() or read_lines(folder / RECORDS):
                raise UsageError(f"{folder} already holds a run: add --resume or name another")
            store = cls(folder, info)
            store.update()
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
        return store

    @classmethod
    def resume(cls, folder: Path, cases: Iterable[Case]) -> Store:
        """Reopen a run: repair a torn last line and turn what the journal holds into records.

        Args:
            folder: The run folder.
            cases: Every case of the run.

        Raises:
            UsageError: There is no run, it cannot be written, or another sweep is writing it.
        """
        info, _ = read_info(folder)
        try:
            store = cls(folder, info)
            store._cut_torn_line()
            store._replay_journal(list(cases))
        except OSError as error:
            raise UsageError(f"cannot write to {folder}: {error.strerror}") from None
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._records.close()
        self._journal.close()
        if not (self.folder / JOURNAL).stat().st_size:
            (self.folder / JOURNAL).unlink()

    def append(self, records: Iterable[Record]) -> None:
        """Write records through to the disk; one that is there already is not written again.

        Raises:
            OSError: The disk is full, say. The file then ends with its last whole record.
        """
        for record in records:
            if record.key not in self.done:
                _append_whole(self._records, record.line())
                self.done.add(record.key)
        os.fsync(self._records.fileno())

    def journal(self, block: int, event: events.Event) -> None:
        """Keep an event of a case under way, so that its samples survive this process."""
        if isinstance(event, _KEPT_EVENTS):
            self._open_blocks.add(block)
            line = b'{"block":%d,%b\n' % (block, wire.encode(event).removeprefix(b"{"))
            _append_whole(self._journal, line)

    def clear_journal(self, block: int) -> None:
        """Note that all events of a block have become records or never will.

        The file is emptied once that is so of every block under way. What stands in it for longer
        does no harm: records that are there already are not written again.
        """
        self._open_blocks.discard(block)
        if not self._open_blocks:
            self._journal.truncate(0)

    def update(self, **changes: Any) -> None:
        """Change fields of ``run.json``, replacing the file in one step."""
        for name, value in changes.items():
            setattr(self.info, name, value)
        write_whole(self.folder / RUN, as_json(self.info.plain()))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._records, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._records.close()
            raise UsageError(f"another sweep is writing to {self.folder}") from None

    def _cut_torn_line(self) -> None:
        """End the records at their last newline, so that the next record starts a new line."""
        path = self.folder / RECORDS
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)

    def _replay_journal(self, cases: list[Case]) -> None:
        assemblies: dict[int, Assembly] = {}
        for number, line in enumerate(read_lines(self.folder / JOURNAL), start=1):
            if not line.endswith(b"\n"):  # torn by the death of the writer: it is lost
                break
            try:
                block = _PLACES.decode(line).block
                event = _EVENTS.decode(line)
                assembly = assemblies.setdefault(block, Assembly(block, cases))
                record = assembly.add(event)
            except (wire.Malformed, KeyError) as error:
                self.warnings.append(f"{JOURNAL} line {number} dropped: {error!r}")
                continue
            if record is not None:
                self.append([record])
        for assembly in assemblies.values():
            self.append(assembly.salvage())
        self._journal.truncate(0)


def _open_for_append(path: Path) -> io.FileIO:
    """Open without a buffer: what a failed write left behind must not be written later."""
    return io.FileIO(path, "a")


def _append_whole(file: io.FileIO, data: bytes) -> None:
    """Append all of ``data`` or nothing."""
    size = os.fstat(file.fileno()).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        file.truncate(size)
        raise
