"""What ``run.json`` says, as people read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from paraformer_bench.study.run_folder import Part, RunInfo, Tree


def table(tree: Tree, name: str) -> Tree:
    """Return the mapping of this name, or an empty one where there is none."""
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def suite_name(info: RunInfo) -> str:
    """Return the name of the suite; empty if unknown."""
    return str(info.suite.get("name") or "")


def hardware(used: Iterable[str], info: RunInfo) -> str:
    """Return devices with the names of their hardware, as far as it is known."""
    names = info.device_names
    return "; ".join(f"{d} ({names[d]})" if names.get(d) else d for d in dict.fromkeys(used))


def commit(info: RunInfo) -> str:
    """Return the commit, shortened; ``+changes`` stays, for it matters."""
    head, plus, changes = (info.commit or "").partition("+")
    return head[:12] + plus + changes


def command(info: RunInfo | Part) -> str:
    """Return the command that made the run, ready for a shell; empty if unknown."""
    told = info.command or ""
    return told if isinstance(told, str) else shlex.join(told)


def scalar(value: Any) -> str:
    """Return a value that is not looked into."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != {} else "none"
