"""What changed over commits: as JSON and as a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from paraformer_bench.errors import UsageError
from paraformer_bench.regressions.judge import Change, Judgement


def write_json(target: str, changes: Sequence[Change]) -> None:
    """Write the list of changes to a file, or to stdout for ``-``.

    Raises:
        UsageError: The file cannot be written.
    """
    text = json.dumps([change.to_json() for change in changes], indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


def write_changes(folder: Path, judgement: Judgement, warnings: Sequence[str]) -> Path:
    raise NotImplementedError
