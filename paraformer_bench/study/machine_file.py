"""What is kept of machines between runs: one file of the user a kind, the last of each place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct
from platformdirs import user_state_path

from paraformer_bench.study import wire
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.ceilings import Ceilings, Place
from paraformer_bench.study.run_folder import as_json, write_whole

_VERSION = 1

T = TypeVar("T", Calibration, Ceilings)


class MachineFile(Struct, Generic[T], frozen=True):
    """One file in the user's state directory.

    Attributes:
        kind: What one entry is; the file's name too.
        entries: What several of them are; their key in the file too.
        type: Of an entry.
    """

    kind: str
    entries: str
    type: type[T]

    def path(self) -> Path:
        """Return the file's place.

        Raises:
            FileNotFoundError: No home directory is known.
        """
        folder = user_state_path("paraformer_bench")
        if not folder.is_absolute():
            raise FileNotFoundError("no home directory is known: set XDG_STATE_HOME")
        return folder / f"{self.kind}.json"

    def read(self) -> tuple[list[T], list[str]]:
        """Return what is kept, and a warning for each thing in the file that is not ours."""
        try:
            file = self.path()
            content = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except (OSError, ValueError, RecursionError) as error:
            return [], [f"{self.entries} ignored: cannot read {self.path()}: {error}"]
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            what = f"a {self.kind} file of this version"
            return [], [f"{self.entries} ignored: {file} is not {what}"]
        listed = content.get(self.entries)
        read: list[T] = []
        warnings: list[str] = []
        for number, entry in enumerate(listed if isinstance(listed, list) else [], start=1):
            try:
                read.append(wire.convert(entry, self.type))
            except wire.Malformed as error:
                warnings.append(f"{self.kind} {number} of {file} ignored: {error}")
        return read, warnings

    def keep(self, entry: T) -> list[str]:
        """Write an entry in place of the last one of the same place.

        Returns:
            What went wrong, a line each. What cannot be kept can still be used.
        """
        entries, warnings = self.read()
        others: list[T] = [other for other in entries if other.place != entry.place]
        content = {"version": _VERSION, self.entries: wire.plain([*others, entry])}
        try:
            file = self.path()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, as_json(content))
        except OSError as error:
            warnings.append(f"the {self.kind} is not kept: {error}")
        return warnings

    def recall(self, place: Place) -> tuple[T | None, list[str]]:
        """Return the entry of a place, if there is one, and the warnings of `read`."""
        entries, warnings = self.read()
        return next((entry for entry in entries if entry.place == place), None), warnings


CALIBRATIONS = MachineFile("calibration", "calibrations", Calibration)
CEILINGS = MachineFile("ceilings", "devices", Ceilings)
