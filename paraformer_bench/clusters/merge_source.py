"""What is merged: the run folders of shards, and of runs that were merged before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraformer_bench.clusters.part import Part, blocks_in
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import (
    JOURNAL,
    RECORDS,
    RUN,
    read_info,
    read_lines,
    read_record_lines,
)

_NEEDED = ("suite", "device", "seed", "identity", "environment", "versions")


@dataclass(frozen=True)
class Source:
    """A run folder to merge.

    Attributes:
        folder: Where it lies.
        info: Contents of ``run.json``.
        blocks: Blocks of the whole run, as far as this folder knows.
        parts: The shard that it is, or those that it was merged from.
        records: Every whole record with its line, in the order of the file.
        warnings: What was wrong with the files, one line each.
    """

    folder: Path
    info: dict[str, Any]
    blocks: int
    parts: list[Part]
    records: list[tuple[Record, bytes]]
    warnings: list[str]

    @property
    def finished(self) -> bool:
        """Whether all that this folder was to hold was done."""
        return self.info.get("finished") is not None


def read_source(folder: Path) -> Source:
    """Read a folder that is to be merged.

    Raises:
        UsageError: It holds no readable run, or one that is neither a shard nor merged.
    """
    info = read_info(folder)
    if info.get("shard") is None and "parts" not in info:
        raise UsageError(f"cannot merge {folder}: it is a whole run, not a shard of one")
    try:
        if missing := [name for name in _NEEDED if name not in info]:
            raise KeyError(*missing)
        listed = info.get("parts")
        parts = [Part.of_run(info)] if listed is None else [Part.from_json(p) for p in listed]
        records, warnings = read_record_lines(folder / RECORDS)
        blocks = blocks_in(info)
        warnings = [f"{folder}: {warning}" for warning in warnings]
        source = Source(folder, info, blocks, parts, records, warnings)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, UsageError) as error:
        lacks = isinstance(error, KeyError)
        why = f"it lacks {', '.join(map(str, error.args))}" if lacks else str(error)
        raise UsageError(f"cannot merge {folder}: its {RUN} makes no sense: {why}") from None
    if read_lines(folder / JOURNAL):
        source.warnings.append(
            f"{folder}: it was killed or is still going; the samples in its {JOURNAL} become "
            "records when it is resumed"
        )
    return source
