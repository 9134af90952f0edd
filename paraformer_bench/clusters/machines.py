"""Which machines are of one kind, and which of a cluster's nodes a run is measured on.

Verdicts are about one kind of machine. Records of two must not lie in one run folder, where they
would be judged together, so a mixture is refused and a part of it is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import Node, RunInfo, Tree
from paraformer_bench.study.survey import Survey

_VERSIONS = ("python", "torch", "triton")
"""Software that is there while a call is timed."""

_CPU = ("model", "usable_cores", "quota_cores", "physical_cores", "torch_threads")
_GPU = ("name", "multiprocessors", "compute_capability", "driver", "max_sm_clock_hz")
"""What makes a kind of machine; clocks, loads and serial numbers of the moment do not."""

_LONGEST = 60
"""Characters of a value that are worth showing."""


def kind(device: str, source: Survey | RunInfo) -> Tree:
    """Return what must be equal in all parts of a run, by the name that a reader is told.

    Raises:
        TypeError, ValueError, AttributeError: A run's facts make no sense.
    """
    environment = source.environment
    cpu = environment.get("cpu") or {}
    gpu = (environment.get("gpus") or {}).get(device) or {}
    variables = dict(environment.get("variables") or {})
    # Differs from job to job on a cluster and says nothing of speed.
    variables.pop("CUDA_VISIBLE_DEVICES", None)
    return {
        **{name: source.versions.get(name) for name in _VERSIONS},
        **{f"CPU {name.replace('_', ' ')}": cpu.get(name) for name in _CPU},
        **{f"GPU {name.replace('_', ' ')}": gpu.get(name) for name in _GPU},
        **named("build of torch:", environment.get("torch")),
        **{f"${name}": value for name, value in variables.items()},
    }


def differences(a: Tree, b: Tree) -> list[str]:
    """Say in what two tables differ, for instance ``torch 2.13.0 against 2.12.0``."""
    return [
        _difference(name, a.get(name), b.get(name))
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name)
    ]


def named(what: str, table: Tree | None) -> Tree:
    """Return a table with ``what`` before each name, and blanks for underscores."""
    return {f"{what} {name.replace('_', ' ')}": value for name, value in (table or {}).items()}


def fingerprint(survey: Survey, device: str) -> str:
    """Return text that two machines share if they are of one kind."""
    data = json.dumps(_kind_of(survey, device), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Machine:
    """A node of a cluster, as a process there found it; ``kind`` must be equal in all of a run."""

    node: Node
    survey: Survey
    kind: Tree

    @classmethod
    def of(cls, node: str, devices: int, survey: Survey, device: str) -> Machine:
        """Return the node that has so many of ``device``, which is ``cpu`` or ``cuda:0``."""
        environment, host = survey.environment, survey.environment["host"]
        # Those that are not measured were not reserved: nobody may take them.
        names = {k: v for k, v in environment["devices"].items() if k in ("cpu", device)}
        name = str(names.get(device, "no such device"))
        return cls(
            Node(node, str(host["name"]), name, devices, host.get("niceness")),
            replace(survey, environment=environment | {"devices": names}),
            _kind_of(survey, device),
        )


def matching(machines: Iterable[Machine], text: str | None) -> list[Machine]:
    """Return the machines whose host or device name contains ``text``, in any case."""
    wanted = (text or "").lower()
    return [m for m in machines if wanted in f"{m.node.host}\n{m.node.device_name}".lower()]


def refuse_mixture(machines: Sequence[Machine]) -> None:
    """Check that all machines are of one kind.

    Raises:
        UsageError: They are not; the message says how they differ and what to do.
    """
    kinds: list[Tree] = []
    for machine in machines:
        if machine.kind not in kinds:
            kinds.append(machine.kind)
    if len(kinds) < 2:
        return
    names = dict.fromkeys(name for facts in kinds for name in facts)
    differing = [name for name in names if len({_word(facts, name) for facts in kinds}) > 1]
    told = []
    for facts in kinds:
        hosts = sorted({machine.node.host for machine in machines if machine.kind == facts})
        words = ", ".join(f"{name} {_word(facts, name)}" for name in differing)
        told.append(f"{', '.join(hosts)} ({words})")
    raise UsageError(
        f"the nodes are of {len(kinds)} types, and a run holds one, since its records are judged "
        f"together: {'; '.join(told)}; choose with --ray-nodes TEXT, a part of the names of hosts "
        "or devices"
    )


def _kind_of(survey: Survey, device: str) -> Tree:
    return kind(device, survey) | {"installed plugins": survey.installed_plugins}


def _word(facts: Tree, name: str) -> str:
    return str(facts.get(name) or "none")


def _difference(name: str, a: Any, b: Any) -> str:
    if name == "device" and str(a).partition(" ")[2] == str(b).partition(" ")[2]:
        return (
            f"device {a} against {b}; let CUDA_VISIBLE_DEVICES name the GPU of each job, so that "
            "all measure on cuda:0"
        )
    shown = [value if isinstance(value, str) else json.dumps(value) for value in (a, b)]
    if name == "cases" or max(map(len, shown)) > _LONGEST:
        return f"{name} not the same"
    return f"{name} {shown[0]} against {shown[1]}"
