"""Child process that says what is here: the registry's names and the environment.

Run as ``python -m paraformer_bench.workers.survey PLUGIN...``; prints one JSON object, with
``error`` alone in it when a plugin cannot be loaded. The parent's side is
`paraformer_bench.study.survey`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paraformer_bench.instrument import environment
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.plugins import installed_plugins, load_plugins
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES, Registry


def survey(plugins: list[Path]) -> dict[str, Any]:
    """Load ``plugins`` and return catalogue, environment and versions."""
    load_plugins(plugins)
    registries = {"models": MODELS, "executions": EXECUTIONS, "runtimes": RUNTIMES}
    return {
        "catalogue": {kind: _entries(registry) for kind, registry in registries.items()},
        "environment": environment.collect(),
        "versions": environment.versions(),
        "installed_plugins": installed_plugins(),
    }


def _entries(registry: Registry) -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "devices": entry.devices,
            "branches": entry.branches,
            "summary": entry.summary,
            "source": entry.source,
            "chains": entry.chains,
            "cost": asdict(entry.cost) if entry.cost else None,
            "spread": entry.spread,
        }
        for entry in registry.entries()
    ]


def main() -> None:
    """Print the survey on stdout; what plugins print goes to stderr."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        result = survey([Path(argument) for argument in sys.argv[1:]])
    except UsageError as error:
        result = {"error": str(error)}
    with channel:
        json.dump(result, channel)


if __name__ == "__main__":
    main()
