"""Whether folders hold parts of one and the same run: the same plan, code and kind of machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paraformer_bench.errors import UsageError
from paraformer_bench.merge.source import Source
from paraformer_bench.run_folder import RUN

_VERSIONS = ("python", "torch", "triton")
"""Software that is there while a call is timed."""

_CPU = ("model", "usable_cores", "quota_cores", "physical_cores", "torch_threads")
_GPU = ("name", "multiprocessors", "compute_capability", "driver", "max_sm_clock_hz")
"""What makes a kind of machine; clocks, loads and serial numbers of the moment do not."""

_OWN_VARIABLES = frozenset({"CUDA_VISIBLE_DEVICES"})
"""Differ from job to job on a cluster and say nothing of speed."""

_LONGEST = 60
"""Characters of a value that are worth showing."""


def refuse_mixture(sources: Sequence[Source]) -> None:
    """Check that all folders can be joined.

    Raises:
        UsageError: Two of them differ in what a comparison must hold fixed.
    """
    first = sources[0]
    held = fixed(first)
    for other in sources[1:]:
        found = fixed(other)
        differences = [
            _difference(name, held.get(name), found.get(name))
            for name in dict.fromkeys([*held, *found])
            if held.get(name) != found.get(name)
        ]
        if differences:
            raise UsageError(
                f"cannot merge {first.folder} and {other.folder}: {'; '.join(differences)}"
            )


def fixed(source: Source) -> dict[str, Any]:
    """Return what must be equal, by the name that a reader is told.

    Raises:
        UsageError: The folder's ``run.json`` makes no sense.
    """
    try:
        return _fixed(source)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise UsageError(f"cannot merge {source.folder}: its {RUN} makes no sense") from None


def _fixed(source: Source) -> dict[str, Any]:
    info = source.info
    suite, identity = info["suite"], info["identity"]
    environment, device = info["environment"], info["device"]
    splits = [(part.shard.of, part.shard.blocks) for part in source.parts if part.shard]
    of, blocks = splits[0]
    protocol = {name: value for name, value in suite["protocol"].items() if name != "blocks"}
    fixed = {
        "device": f"{device} ({environment['devices'].get(device)})",
        "number of shards": of,
        "blocks that the shards were made for": blocks,
        "seed": info["seed"],
        "suite": suite.get("name"),
        **_named("claim", suite.get("claim")),
        **_named("protocol", protocol),
        "grid": suite.get("grid"),
        "cases": identity.get("cases"),
        "plugin files": sorted(dict(identity.get("plugins") or {}).values()),
        "installed plugins": identity.get("installed_plugins"),
        "version of this package": info.get("package"),
        "commit": info.get("commit"),
    }
    fixed |= {name: info["versions"].get(name) for name in _VERSIONS}
    cpu = environment.get("cpu") or {}
    fixed |= {f"CPU {name.replace('_', ' ')}": cpu.get(name) for name in _CPU}
    gpu = (environment.get("gpus") or {}).get(device) or {}
    fixed |= {f"GPU {name.replace('_', ' ')}": gpu.get(name) for name in _GPU}
    variables = environment.get("variables") or {}
    return fixed | {
        **_named("build of torch:", environment.get("torch")),
        **{f"${name}": value for name, value in variables.items() if name not in _OWN_VARIABLES},
    }


def _named(what: str, table: Mapping[str, Any] | None) -> dict[str, Any]:
    return {f"{what} {name.replace('_', ' ')}": value for name, value in (table or {}).items()}


def _difference(name: str, a: Any, b: Any) -> str:
    if name == "device" and str(a).partition(" ")[2] == str(b).partition(" ")[2]:
        return (
            f"device {a} against {b}; let CUDA_VISIBLE_DEVICES name the GPU of each job, so that "
            "all measure on cuda:0"
        )
    shown = [json.dumps(value) if not isinstance(value, str) else value for value in (a, b)]
    if name == "cases" or max(map(len, shown)) > _LONGEST:
        return f"{name} not the same"
    return f"{name} {shown[0]} against {shown[1]}"
