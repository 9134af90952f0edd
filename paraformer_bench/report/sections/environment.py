"""Environment: the machine, its versions and its ceilings; the parts of a merged run."""

from __future__ import annotations

from typing import Any

from paraformer_bench.report import html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.facts import command, scalar, table
from paraformer_bench.report.html import Facts
from paraformer_bench.report.page import Section
from paraformer_bench.study import wire
from paraformer_bench.study.run_folder import RunInfo, Tree
from paraformer_bench.study.words import MIB, moment, short, time

ORDER = 90

_UNITS = {
    "_bytes": (1 / 2**30, "GiB"),
    "_hz": (1e-9, "GHz"),
    "_watts": (1, "W"),
    "_celsius": (1, "°C"),
}
"""Units that names in ``run.json`` end in, and what people read instead."""


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    info = data.run.info
    more = {"ceilings": _ceilings(info), "parts": _parts(info)}
    told = environment(info) | {name: sheet for name, sheet in more.items() if sheet}
    nothing = html.text("This run did not record its environment.")
    body = html.sheets(told) if told else nothing
    return [Section("environment", "Environment", [body], "Environment")]


def environment(info: RunInfo) -> dict[str, Facts]:
    """Return environment, versions and plugins, a sheet each; nested names are joined."""
    facts = info.environment
    nested = {name: fact for name, fact in facts.items() if isinstance(fact, dict) and fact}
    general = {name: fact for name, fact in facts.items() if name not in nested}
    sheets: Tree = ({"machine": general} if general else {}) | nested
    for name in ("machines", "versions", "plugins", "installed_plugins"):
        if value := getattr(info, name):
            sheets[name.replace("_", " ")] = wire.plain(value)
    return {name: _flat(sheet) for name, sheet in sheets.items()}


def _flat(tree: Any) -> Facts:
    """Flatten nested mappings and lists of them, without recursion: depth is not ours to trust."""
    facts: Facts = []
    stack = [("", tree)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            value = dict(enumerate(value, start=1))
        if isinstance(value, dict) and value:
            children = reversed(value.items())
            stack += [(f"{name} / {key}" if name else str(key), child) for key, child in children]
        else:
            facts.append(_fact(name, value))
    return facts


def _fact(name: str, value: Any) -> tuple[str, str]:
    """Name and text of one value; a unit in the name moves to the value, as people write it."""
    for suffix, (scale, unit) in _UNITS.items():
        if name.endswith(suffix) and isinstance(value, (int, float)):
            return name.removesuffix(suffix), f"{short(value * scale)} {unit}"
    return name, scalar(value)


def _ceilings(info: RunInfo) -> Facts:
    """Return what the device could do at best; empty where that is not known."""
    best = info.ceilings
    if best is None:
        return []
    facts = {"measured": moment(best.date), "disturbed": ", ".join(best.flags)}
    fastest = max(best.copies, key=lambda copy: copy.bytes_per_second)
    copies = {"smallest": best.copies[0], "fastest": fastest, "largest": best.copies[-1]}
    for name, copy in copies.items():
        rate, size = short(copy.bytes_per_second / 1e9), short(copy.footprint_bytes * MIB)
        facts[f"{name} copy"] = f"{rate} GB/s, of {size} MiB"
    for dtype in best.dtypes:
        rate = short(max(p.flops / p.seconds for p in best.products if p.dtype == dtype) / 1e12)
        facts[f"fastest product, {dtype}"] = f"{rate} TFLOP/s"
    facts["one eager launch"] = time(best.launch_seconds)
    if best.node_seconds is not None:
        facts["one node of a CUDA graph"] = time(best.node_seconds)
        facts["one synchronisation"] = time(best.sync_seconds)
    return [(name, value) for name, value in facts.items() if value]


def _parts(info: RunInfo) -> Facts:
    """Return where and when each part of a merged run was measured, and what is missing."""
    facts = []
    for part in info.parts or ():
        host = table(part.environment, "host").get("name")
        told = [str(host or "host unknown"), moment(part.started or ""), command(part)]
        name = f"shard {part.shard}" if part.shard else "continued"
        facts.append((name, "; ".join(filter(None, told))))
    if info.missing and info.finished is None:
        facts.append(("missing", scalar(info.missing)))
    return facts
