"""Writing a merged run: whole or not at all, and never over a folder that is there."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paraformer_bench.clusters.merge_source import Source
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.profiling import ENDING, TRACES
from paraformer_bench.study.run_folder import RECORDS, RUN


def write_run(
    out: Path, info: dict[str, Any], lines: Iterable[bytes], sources: Sequence[Source]
) -> None:
    """Write a run folder beside its place, and put it there in one step.

    Raises:
        UsageError: ``out`` is there already or cannot be written, or ``info`` is no JSON.
    """
    refuse_existing(out)
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        try:
            _copy_traces(sources, draft)
            _write(draft / RECORDS, b"".join(lines))
            text = json.dumps(info, indent=1, allow_nan=False) + "\n"
            _write(draft / RUN, text.encode())
            refuse_existing(out)
            draft.rename(out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None
    except ValueError as error:  # a number that JSON does not know
        raise UsageError(f"cannot write {out}: {error}") from None


def refuse_existing(out: Path) -> None:
    """Raise `UsageError` if there is anything at ``out``."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already: name another folder with --out")


def _copy_traces(sources: Sequence[Source], folder: Path) -> None:
    for source in sources:
        for path in sorted(source.folder.glob(f"{TRACES}/*/*{ENDING}")):
            copy = folder / path.relative_to(source.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists():  # their names end in the time: an equal one is the same
                shutil.copyfile(path, copy)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
