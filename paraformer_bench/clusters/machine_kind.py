"""What makes a kind of machine, with its software: the same in all parts of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_VERSIONS = ("python", "torch", "triton")
"""Software that is there while a call is timed."""

_CPU = ("model", "usable_cores", "quota_cores", "physical_cores", "torch_threads")
_GPU = ("name", "multiprocessors", "compute_capability", "driver", "max_sm_clock_hz")
"""What makes a kind of machine; clocks, loads and serial numbers of the moment do not."""

_OWN_VARIABLES = frozenset({"CUDA_VISIBLE_DEVICES"})
"""Differ from job to job on a cluster and say nothing of speed."""

_LONGEST = 60
"""Characters of a value that are worth showing."""


def kind(
    device: str, environment: Mapping[str, Any], versions: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what must be equal, by the name that a reader is told.

    Args:
        device: ``cpu`` or ``cuda:N``.
        environment: As ``run.json`` keeps it.
        versions: As ``run.json`` keeps them.

    Raises:
        TypeError, ValueError, AttributeError: It makes no sense.
    """
    found = {name: versions.get(name) for name in _VERSIONS}
    cpu = environment.get("cpu") or {}
    found |= {f"CPU {name.replace('_', ' ')}": cpu.get(name) for name in _CPU}
    gpu = (environment.get("gpus") or {}).get(device) or {}
    found |= {f"GPU {name.replace('_', ' ')}": gpu.get(name) for name in _GPU}
    variables = environment.get("variables") or {}
    return found | {
        **named("build of torch:", environment.get("torch")),
        **{f"${name}": value for name, value in variables.items() if name not in _OWN_VARIABLES},
    }


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Say in what two tables differ, for instance ``torch 2.13.0 against 2.12.0``."""
    return [
        _difference(name, a.get(name), b.get(name))
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    ]


def named(what: str, table: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a table with ``what`` before each name, and blanks for underscores."""
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
