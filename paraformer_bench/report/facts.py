"""What ``run.json`` says, made safe to show: any of it may be missing or not what it should be."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from paraformer_bench.report import units
from paraformer_bench.study.calibration import ABSOLUTE, RELATIVE, Calibration
from paraformer_bench.study.ceilings import Ceilings

Facts = list[tuple[str, str]]
"""Names and values, as text."""

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


def table(info: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """Return the mapping at ``path``, or an empty one."""
    found: Any = info
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def text(info: Mapping[str, Any], key: str) -> str:
    """Return the value of ``key`` as text, empty where there is none."""
    value = info.get(key)
    return "" if value is None else _scalar(value)


def devices(info: Mapping[str, Any]) -> dict[str, str]:
    """Return device -> name of the hardware, as far as it is known."""
    named = table(info, "environment", "devices")
    return {device: _scalar(name) for device, name in named.items()}


def shard(info: Mapping[str, Any]) -> str:
    """Return which part of a run this is, such as ``2 of 5``; empty for a whole run."""
    held = table(info, "shard")
    return (
        f"{_scalar(held['number'])} of {_scalar(held['of'])}"
        if {"number", "of"} <= set(held)
        else ""
    )


def parts(info: Mapping[str, Any]) -> Facts:
    """Return where and when each part of a merged run was measured, and what is missing."""
    listed = info.get("parts")
    known = (
        [part for part in listed if isinstance(part, Mapping)] if isinstance(listed, list) else []
    )
    found = []
    for part in known:
        name = f"shard {shard(part)}" if shard(part) else "continued"
        host = text(table(part, "environment", "host"), "name")
        told = [host or "host unknown", units.moment(text(part, "started")), command(part)]
        found.append((name, "; ".join(filter(None, told))))
    missing = info.get("missing") if info.get("finished") is None else None
    return found + ([("missing", _scalar(missing))] if missing else [])


def hardware(used: Iterable[str], info: Mapping[str, Any]) -> str:
    """Return devices with the names of their hardware, as far as it is known."""
    names = devices(info)
    told = dict.fromkeys(map(str, used))
    return "; ".join(f"{d} ({names[d]})" if names.get(d) else d for d in told)


def commit(info: Mapping[str, Any]) -> str:
    """Return the commit, shortened; ``+changes`` stays, for it matters."""
    head, plus, changes = text(info, "commit").partition("+")
    return head[:12] + plus + changes


def command(info: Mapping[str, Any]) -> str:
    """Return the command that made the run, ready for a shell; empty if unknown."""
    argv = info.get("command")
    return shlex.join(map(_scalar, argv)) if isinstance(argv, list) else text(info, "command")


def claim(info: Mapping[str, Any]) -> Facts:
    """Return what the verdicts were judged by and how the cases were measured."""
    facts = [(name, _scalar(value)) for name, value in table(info, "suite", "claim").items()]
    protocol = table(info, "suite", "protocol")
    facts += [(_PROTOCOL.get(name, name), _scalar(value)) for name, value in protocol.items()]
    return facts


def grids(info: Mapping[str, Any]) -> list[Facts]:
    """Return the axes of every grid of the suite."""
    found = table(info, "suite").get("grid")
    grids = found if isinstance(found, list) else [found]
    return [
        [(name, _scalar(value)) for name, value in grid.items()]
        for grid in grids
        if isinstance(grid, Mapping)
    ]


def efficiency(info: Mapping[str, Any]) -> str:
    """Say how much of the sweep's time was spent working; empty if unknown."""
    held = table(info, "efficiency")
    wall, busy = held.get("wall_seconds"), held.get("busy_seconds")
    if not isinstance(wall, (int, float)) or not isinstance(busy, (int, float)) or wall <= 0:
        return ""
    devices = held.get("device_seconds")
    if isinstance(devices, (int, float)) and devices > 0:
        return (
            f"The sweep took {units.duration(wall)} on several devices at once; "
            f"{busy / devices:.0%} of their time ({units.duration(busy)}) passed in warm-up or "
            f"timed calls."
        )
    took = "The jobs of this run together took" if info.get("parts") else "The sweep took"
    return (
        f"{took} {units.duration(wall)}; {units.duration(busy)} of it ({busy / wall:.0%}) "
        f"passed in warm-up or timed calls."
    )


def calibration(info: Mapping[str, Any]) -> str:
    """Say how well the instrument read known delays here; empty if the run is older than that."""
    if "calibration" not in info:
        return ""
    if info["calibration"] is None:
        return "The instrument was not calibrated here: doctor --calibrate would have done it."
    try:
        found = Calibration.from_json(info["calibration"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return "What this run says of the calibration of its instrument cannot be read."
    readings = [reading for reading in found.readings if reading.basis == found.basis]
    told = ", ".join(
        f"{units.time(r.true_seconds)} as {units.time(r.measured_seconds)} ({r.share:+.2%})"
        for r in readings
    )
    limit = f"{units.percent(RELATIVE)} or {ABSOLUTE[found.basis] * 1e6:g} µs"
    return (
        f"The instrument was calibrated on {units.moment(found.date)}. It read known delays "
        f"({found.basis} time): {told}. "
        f"{'All' if found.good else 'Not all'} of them are within {limit}."
    )


def ceilings(info: Mapping[str, Any]) -> Facts:
    """Return what the device could do at best; empty where that is not known."""
    try:
        held = Ceilings.from_json(info["ceilings"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return []
    small, large = held.copies[0], held.copies[-1]
    best = max(held.copies, key=lambda copy: copy.bytes_per_second)
    found = [("measured", units.moment(held.date))]
    if held.flags:
        found.append(("disturbed", ", ".join(held.flags)))
    for name, copy in (("smallest", small), ("fastest", best), ("largest", large)):
        size = units.short(copy.footprint_bytes * units.MIB)
        rate = units.short(copy.bytes_per_second / 1e9)
        found.append((f"{name} copy", f"{rate} GB/s, of {size} MiB"))
    for dtype in held.dtypes:
        some = [one for one in held.products if one.dtype == dtype]
        fastest = max(some, key=lambda one: one.flops / one.seconds)
        rate = units.short(fastest.flops / fastest.seconds / 1e12)
        found.append((f"fastest product, {dtype}", f"{rate} TFLOP/s"))
    found.append(("one eager launch", units.time(held.launch_seconds)))
    if held.node_seconds is not None:
        found.append(("one node of a CUDA graph", units.time(held.node_seconds)))
        found.append(("one synchronisation", units.time(held.sync_seconds)))
    return found


def environment(info: Mapping[str, Any]) -> list[tuple[str, Facts]]:
    """Return the environment, versions and plugins as named lists; nested names are joined."""
    sections: dict[str, Any] = {}
    general: dict[str, Any] = {}
    for name, value in table(info, "environment").items():
        (sections if isinstance(value, Mapping) and value else general)[name] = value
    sections = ({"machine": general} if general else {}) | sections
    for name in ("machines", "versions", "plugins", "installed_plugins"):
        if info.get(name):
            sections[name.replace("_", " ")] = info[name]
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
            return name.removesuffix(suffix), f"{units.short(value * scale)} {unit}"
    return name, _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) if value != {} else "none"
