"""Where asv keeps its results: what its configuration says."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from paraformer_bench.study.errors import UsageError

NAMES = ("asv.conf.json", "asv.conf.jsonc")
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')


@dataclass(frozen=True)
class Place:
    """Where to look.

    Attributes:
        results: asv's ``results_dir``.
        repository: A folder in the repository whose commits were measured.
    """

    results: Path
    repository: Path


def find_place(results: Path | None, folder: Path) -> Place:
    """Return where results and repository are: as asked for, else as asv's configuration says.

    Args:
        results: Folder of results, if one was named.
        folder: Where a configuration is looked for.

    Raises:
        UsageError: There is no configuration, or it cannot be read.
    """
    found = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if results is not None:
        return Place(results, folder)
    if found is None:
        raise UsageError(f"there is no {NAMES[0]} here: name the folder of results with --results")
    try:
        text = found.read_text(encoding="utf-8")
        plain = _LAST_COMMA.sub(r"\1", _COMMENT.sub(r"\1", text))
        content = json.loads(plain)
        where = content.get("results_dir", "results")
        repository = content.get("repo", ".")
        if not isinstance(where, str) or not isinstance(repository, str):
            raise ValueError
    except (OSError, ValueError, AttributeError, RecursionError):
        raise UsageError(f"cannot read {found.name}: name the results with --results") from None
    local = folder / repository
    return Place(folder / where, local if local.is_dir() else folder)
