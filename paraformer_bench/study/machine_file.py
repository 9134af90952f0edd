"""What is kept of machines between runs: one file of the user a kind, the last of each place."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.ceilings import Ceilings

_VERSION = 1


class Kept(Protocol):
    """What is measured of a machine, device and PyTorch once in a while."""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What it holds for."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""


T = TypeVar("T", bound=Kept)


@dataclass(frozen=True)
class MachineFile(Generic[T]):
    """One file in the user's state directory.

    Attributes:
        kind: What one entry is; the file's name too.
        entries: What several of them are; their key in the file too.
        load: Rebuilds an entry; raises `KeyError`, `TypeError`, `ValueError` or `OverflowError`
            where it makes no sense.
    """

    kind: str
    entries: str
    load: Callable[[Mapping[str, Any]], T]

    def path(self) -> Path:
        """Return the file's place.

        Raises:
            FileNotFoundError: No home directory is known.
        """
        state = os.environ.get("XDG_STATE_HOME", "")
        if not os.path.isabs(state):  # what is relative does not count, says the XDG standard
            try:
                state = str(Path.home() / ".local" / "state")
            except RuntimeError:
                raise FileNotFoundError("no home directory is known: set XDG_STATE_HOME") from None
        return Path(state, "paraformer_bench", f"{self.kind}.json")

    def read(self) -> tuple[list[T], list[str]]:
        """Return what is kept, and a warning for each thing in the file that is not ours."""
        try:
            file = self.path()
        except FileNotFoundError:
            return [], []
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except (OSError, ValueError, RecursionError) as error:
            return [], [f"{self.entries} ignored: cannot read {file}: {error}"]
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            what = f"a {self.kind} file of this version"
            return [], [f"{self.entries} ignored: {file} is not {what}"]
        entries = data.get(self.entries)
        found: list[T] = []
        warnings: list[str] = []
        for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
            try:
                found.append(self.load(entry))
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                warnings.append(f"{self.kind} {number} of {file} ignored: {error!r}")
        return found, warnings

    def keep(self, one: T) -> list[str]:
        """Write an entry in place of the last one of the same place.

        Returns:
            What went wrong, a line each. What cannot be kept can still be used.
        """
        found, warnings = self.read()
        entries = [other.to_json() for other in found if other.place != one.place]
        entries.append(one.to_json())
        text = json.dumps({"version": _VERSION, self.entries: entries}, indent=1) + "\n"
        try:
            file = self.path()
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as folder:
                partial = Path(folder, file.name)
                partial.write_text(text, encoding="utf-8")
                partial.replace(file)
        except OSError as error:
            warnings.append(f"the {self.kind} is not kept: {error}")
        return warnings

    def recall(self, place: tuple[str, str, str, str]) -> tuple[T | None, list[str]]:
        """Return the entry of a place, if there is one, and the warnings of `read`."""
        found, warnings = self.read()
        return next((one for one in found if one.place == place), None), warnings


CALIBRATIONS = MachineFile("calibration", "calibrations", Calibration.from_json)
CEILINGS = MachineFile("ceilings", "devices", Ceilings.from_json)
