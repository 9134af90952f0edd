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

from paraformer_bench.clusters.machine_kind import kind
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.survey import Survey


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
    facts = kind(device, survey.environment, survey.versions)
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
    names = dict.fromkeys(name for fact in facts for name in fact)
    differing = [name for name in names if len({_word(fact, name) for fact in facts}) > 1]
    told = "; ".join(
        f"{', '.join(sorted({machine.host for machine in group}))} ({_words(fact, differing)})"
        for group, fact in zip(types.values(), facts, strict=True)
    )
    raise UsageError(
        f"the nodes are of {len(types)} types, and a run holds one, since its records are judged "
        f"together: {told}; choose with --ray-nodes TEXT, a part of the names of hosts or devices"
    )


def _words(facts: Mapping[str, Any], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {_word(facts, name)}" for name in names)


def _word(facts: Mapping[str, Any], name: str) -> str:
    return str(facts.get(name) or "none")
