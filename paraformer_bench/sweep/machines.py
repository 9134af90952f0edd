"""The machines of a cluster: which are of one type, and which a run is measured on.

Verdicts are about one type of machine. Records of two must not lie in one run folder, where they
would be judged together, so a mixture is refused and a part of it is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paraformer_bench.errors import UsageError
from paraformer_bench.survey import Survey

_VERSIONS = ("python", "torch", "triton")
_CPU = ("model", "usable_cores", "quota_cores", "physical_cores", "torch_threads")
_GPU = ("name", "multiprocessors", "compute_capability", "driver", "max_sm_clock_hz")
"""What makes a type of machine; loads, clocks and serial numbers of the moment do not."""


@dataclass(frozen=True)
class Machine:
    """A node of a cluster, as a process there found it.

    Attributes:
        node: Its id in the cluster.
        devices: How many blocks it can run at once: its GPUs, or 1.
        survey: What is there.
    """

    node: str
    devices: int
    survey: Survey

    @property
    def host(self) -> str:
        """Name of the host."""
        return str(self.survey.environment["host"]["name"])

    def device_name(self, device: str) -> str:
        """Name of the hardware that is measured."""
        return str(self.survey.environment["devices"].get(device, "no such device"))

    def to_json(self, device: str) -> dict[str, Any]:
        """Return what ``run.json`` keeps of it, beside what all of its type have in common."""
        return {
            "node": self.node,
            "host": self.host,
            "device_name": self.device_name(device),
            "devices": self.devices,
            "niceness": self.survey.environment["host"].get("niceness"),
        }


def type_of(survey: Survey, device: str) -> dict[str, Any]:
    """Return what must be equal on all machines of a run, by name."""
    environment = survey.environment
    cpu = environment.get("cpu") or {}
    gpu = (environment.get("gpus") or {}).get(device) or {}
    facts = {name: survey.versions.get(name) for name in _VERSIONS}
    facts |= {f"CPU {name.replace('_', ' ')}": cpu.get(name) for name in _CPU}
    facts |= {f"GPU {name.replace('_', ' ')}": gpu.get(name) for name in _GPU}
    return facts | {"installed plugins": survey.installed_plugins}


def fingerprint(survey: Survey, device: str) -> str:
    """Return text that two machines share if they are of one type."""
    data = json.dumps(type_of(survey, device), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def matching(machines: Iterable[Machine], device: str, part: str | None) -> list[Machine]:
    """Return the machines whose host or device name contains ``part``, in any case."""
    wanted = (part or "").lower()
    return [
        machine
        for machine in machines
        if wanted in f"{machine.host}\n{machine.device_name(device)}".lower()
    ]


def refuse_mixture(machines: Sequence[Machine], device: str) -> None:
    """Check that all machines are of one type.

    Raises:
        UsageError: They are not; the message says how they differ and what to do.
    """
    types: dict[str, list[Machine]] = {}
    for machine in machines:
        types.setdefault(fingerprint(machine.survey, device), []).append(machine)
    if len(types) < 2:
        return
    facts = [type_of(group[0].survey, device) for group in types.values()]
    differing = [name for name in facts[0] if any(f[name] != facts[0][name] for f in facts)]
    told = "; ".join(
        f"{', '.join(sorted({machine.host for machine in group}))} ({_words(fact, differing)})"
        for group, fact in zip(types.values(), facts, strict=True)
    )
    raise UsageError(
        f"the nodes are of {len(types)} types, and a run holds one, since its records are judged "
        f"together: {told}; choose with --ray-nodes TEXT, a part of the names of hosts or devices"
    )


def _words(facts: Mapping[str, Any], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {facts[name] or 'none'}" for name in names)
