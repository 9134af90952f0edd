"""Where calibrations are kept: one file of the user, the last of each machine and device."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from paraformer_bench.calibration import Calibration, Place

_VERSION = 1


def path() -> Path:
    """Return the file's place in the user's state directory.

    Raises:
        FileNotFoundError: No home directory is known.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # what is relative does not count, says the XDG standard
        try:
            state = str(Path.home() / ".local" / "state")
        except RuntimeError:
            raise FileNotFoundError("no home directory is known: set XDG_STATE_HOME") from None
    return Path(state, "paraformer_bench", "calibration.json")


def read() -> tuple[list[Calibration], list[str]]:
    """Return what is kept, and a warning for each thing in the file that is not ours."""
    try:
        file = path()
    except FileNotFoundError:
        return [], []
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except (OSError, ValueError, RecursionError) as error:
        return [], [f"calibrations ignored: cannot read {file}: {error}"]
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        return [], [f"calibrations ignored: {file} is not a calibration file of this version"]
    entries = data.get("calibrations")
    found: list[Calibration] = []
    warnings: list[str] = []
    for number, entry in enumerate(entries if isinstance(entries, list) else [], start=1):
        try:
            found.append(Calibration.from_json(entry))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            warnings.append(f"calibration {number} of {file} ignored: {error!r}")
    return found, warnings


def keep(calibration: Calibration) -> list[str]:
    """Write a calibration in place of the last one of the same machine, device and PyTorch.

    Returns:
        What went wrong, a line each. A calibration that cannot be kept is still one.
    """
    found, warnings = read()
    entries = [one.to_json() for one in found if one.place != calibration.place]
    entries.append(calibration.to_json())
    text = json.dumps({"version": _VERSION, "calibrations": entries}, indent=1) + "\n"
    try:
        file = path()
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            partial = Path(folder, file.name)
            partial.write_text(text, encoding="utf-8")
            partial.replace(file)
    except OSError as error:
        warnings.append(f"the calibration is not kept: {error}")
    return warnings


def recall(place: Place) -> tuple[Calibration | None, list[str]]:
    """Return the calibration of a place, if there is one, and the warnings of `read`."""
    found, warnings = read()
    return next((one for one in found if one.place == place), None), warnings
