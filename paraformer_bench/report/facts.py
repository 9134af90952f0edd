"""What ``run.json`` says, as people read it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from paraformer_bench.report.html import Facts
from paraformer_bench.study import wire
from paraformer_bench.study.calibration import ABSOLUTE, RELATIVE
from paraformer_bench.study.run_folder import Part, RunInfo
from paraformer_bench.study.words import MIB, duration, moment, percent, short, time

_PROTOCOL = {
    "blocks": "blocks (fresh processes that visit every case)",
    "rounds": "rounds of each group within a block",
    "seconds_per_case": "seconds of samples for each case and block",
    "target_relative_error": "sampling stops at a relative error of",
    "timeout_seconds": "seconds before a case is given up",
    "energy_seconds": "seconds of the energy window of each case and block",
}

_UNITS = {
    "_bytes": (1 / 2**30, "GiB"),
    "_hz": (1e-9, "GHz"),
    "_watts": (1, "W"),
    "_celsius": (1, "°C"),
}
"""Units that names in ``run.json`` end in, and what people read instead."""


def table(tree: Any, *path: str) -> dict[str, Any]:
    """Return the mapping at ``path``, or an empty one."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return dict(tree) if isinstance(tree, Mapping) else {}


def suite_name(info: RunInfo) -> str:
    """Return the name of the suite; empty if unknown."""
    return str(info.suite.get("name") or "")


def parts(info: RunInfo) -> Facts:
    """Return where and when each part of a merged run was measured, and what is missing."""
    facts = []
    for part in info.parts or ():
        host = table(part.environment, "host").get("name")
        told = [str(host or "host unknown"), moment(part.started or ""), command(part)]
        name = f"shard {part.shard}" if part.shard else "continued"
        facts.append((name, "; ".join(filter(None, told))))
    if info.missing and info.finished is None:
        facts.append(("missing", _scalar(info.missing)))
    return facts


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


def claim(info: RunInfo) -> Facts:
    """Return what the verdicts were judged by and how the cases were measured."""
    facts = [(name, _scalar(value)) for name, value in table(info.suite, "claim").items()]
    protocol = table(info.suite, "protocol")
    return facts + [(_PROTOCOL.get(name, name), _scalar(v)) for name, v in protocol.items()]


def grids(info: RunInfo) -> list[Facts]:
    """Return the axes of every grid of the suite."""
    listed = info.suite.get("grid")
    grids = listed if isinstance(listed, list) else [listed]
    return [
        [(name, _scalar(value)) for name, value in grid.items()]
        for grid in grids
        if isinstance(grid, Mapping)
    ]


def efficiency(info: RunInfo) -> str:
    """Say how much of the sweep's time was spent working; empty if unknown."""
    spent = info.efficiency
    if not spent or spent.wall_seconds <= 0:
        return ""
    wall, busy = spent.wall_seconds, spent.busy_seconds
    if spent.device_seconds:
        return (
            f"The sweep took {duration(wall)} on several devices at once; "
            f"{busy / spent.device_seconds:.0%} of their time ({duration(busy)}) passed in "
            f"warm-up or timed calls."
        )
    took = "The jobs of this run together took" if info.parts else "The sweep took"
    return (
        f"{took} {duration(wall)}; {duration(busy)} of it ({busy / wall:.0%}) "
        f"passed in warm-up or timed calls."
    )


def calibration(info: RunInfo) -> str:
    """Say how well the instrument read known delays here."""
    told = info.calibration
    if told is None:
        return "The instrument was not calibrated here: doctor --calibrate would have done it."
    read = ", ".join(
        f"{time(r.true_seconds)} as {time(r.measured_seconds)} ({r.share:+.2%})"
        for r in told.readings
        if r.basis == told.basis
    )
    limit = f"{percent(RELATIVE)} or {ABSOLUTE[told.basis] * 1e6:g} µs"
    return (
        f"The instrument was calibrated on {moment(told.date)}. It read known delays "
        f"({told.basis} time): {read}. "
        f"{'All' if told.good else 'Not all'} of them are within {limit}."
    )


def ceilings(info: RunInfo) -> Facts:
    """Return what the device could do at best; empty where that is not known."""
    best = info.ceilings
    if best is None:
        return []
    facts = [("measured", moment(best.date))]
    if best.flags:
        facts.append(("disturbed", ", ".join(best.flags)))
    fastest = max(best.copies, key=lambda copy: copy.bytes_per_second)
    copies = {"smallest": best.copies[0], "fastest": fastest, "largest": best.copies[-1]}
    for name, copy in copies.items():
        rate, size = short(copy.bytes_per_second / 1e9), short(copy.footprint_bytes * MIB)
        facts.append((f"{name} copy", f"{rate} GB/s, of {size} MiB"))
    for dtype in best.dtypes:
        rate = short(max(p.flops / p.seconds for p in best.products if p.dtype == dtype) / 1e12)
        facts.append((f"fastest product, {dtype}", f"{rate} TFLOP/s"))
    facts.append(("one eager launch", time(best.launch_seconds)))
    if best.node_seconds is not None:
        facts.append(("one node of a CUDA graph", time(best.node_seconds)))
        facts.append(("one synchronisation", time(best.sync_seconds)))
    return facts


def environment(info: RunInfo) -> list[tuple[str, Facts]]:
    """Return the environment, versions and plugins as named lists; nested names are joined."""
    sections: dict[str, Any] = {}
    general: dict[str, Any] = {}
    for name, value in info.environment.items():
        (sections if isinstance(value, Mapping) and value else general)[name] = value
    sections = ({"machine": general} if general else {}) | sections
    for name in ("machines", "versions", "plugins", "installed_plugins"):
        if value := getattr(info, name):
            sections[name.replace("_", " ")] = wire.plain(value)
    return [(name, _flat(section)) for name, section in sections.items()]


def _flat(value: Any) -> Facts:
    """Flatten nested mappings and lists of them, without recursion: depth is not ours to trust."""
    facts: Facts = []
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        name, held = stack.pop()
        children: list[tuple[str, Any]] = []
        if isinstance(held, Mapping):
            children = [(str(key), child) for key, child in held.items()]
        elif isinstance(held, list) and any(isinstance(item, (dict, list)) for item in held):
            children = [(str(number), child) for number, child in enumerate(held, start=1)]
        if children:
            stack += [(f"{name} / {k}" if name else k, v) for k, v in reversed(children)]
        else:
            facts.append(_fact(name, held))
    return facts


def _fact(name: str, value: Any) -> tuple[str, str]:
    """Name and text of one value; a unit in the name moves to the value, as people write it."""
    for suffix, (scale, unit) in _UNITS.items():
        if name.endswith(suffix) and isinstance(value, (int, float)):
            return name.removesuffix(suffix), f"{short(value * scale)} {unit}"
    return name, _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != {} else "none"
