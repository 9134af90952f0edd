"""Where a sweep measures: on this machine, or on those of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from paraformer_bench.study.errors import UsageError
from paraformer_bench.sweep.profile import LaunchProfiler, launch_profiler
from paraformer_bench.sweep.resume import find_run
from paraformer_bench.sweep.schedule import OneAfterAnother, Schedule
from paraformer_bench.sweep.setup import SurveyCluster
from paraformer_bench.sweep.study import Settings
from paraformer_bench.workers.ask import Start
from paraformer_bench.workers.local import LocalWorker

LOCAL, RAY = LAUNCHERS = ("local", "ray")


@dataclass(frozen=True)
class Launcher:
    """How the processes of a sweep are started.

    Attributes:
        schedule: Runs its blocks.
        start: Starts what measures the ceilings.
        launch_profiler: Starts a profiling process.
        survey: Surveys the machines; None for this one.
        machines: The machines of a cluster that take part, as ``run.json`` has them.
        facts: What ``run.json`` says of launcher and machines by now, those of earlier sittings
            among them.
    """

    schedule: Schedule = field(default_factory=lambda: OneAfterAnother(LocalWorker))
    start: Start = LocalWorker
    launch_profiler: LaunchProfiler = launch_profiler
    survey: SurveyCluster | None = None
    machines: Callable[[], list[dict[str, Any]]] = list
    facts: Callable[[], dict[str, Any]] = lambda: {"launcher": LOCAL}


@contextmanager
def open_launcher(settings: Settings, say: Callable[[str], None]) -> Iterator[Launcher]:
    """Return the launcher that was asked for, or that of the run to be resumed.

    Args:
        settings: What was asked for.
        say: Receives what there is to say of machines, a line each.

    Raises:
        UsageError: Ray is not installed, there is no cluster, or nothing to resume.
    """
    stored = find_run(settings)[0] if settings.resume else {}
    if (settings.launcher or stored.get("launcher") or LOCAL) == LOCAL:
        for option, value in (("address", settings.ray_address), ("nodes", settings.ray_nodes)):
            if value is not None:
                raise UsageError(f"--ray-{option} is for --launcher ray")
        yield Launcher()
        return
    from paraformer_bench.clusters.ray_session import connect
    from paraformer_bench.sweep.parallel import Parallel

    address = (
        settings.ray_address or stored.get("ray_address") or os.environ.get("RAY_ADDRESS") or None
    )
    part = settings.ray_nodes or stored.get("ray_nodes")
    with connect(address, part, say) as cluster:

        def machines() -> list[dict[str, Any]]:
            return [machine.to_json(cluster.device) for machine in cluster.machines]

        def facts() -> dict[str, Any]:
            known = {one["node"]: one for one in [*(stored.get("machines") or []), *machines()]}
            return {
                "launcher": RAY,
                "ray_address": address,
                "ray_nodes": part,
                "machines": list(known.values()),
            }

        yield Launcher(
            schedule=Parallel(cluster),
            start=cluster.launch,
            launch_profiler=cluster.launch_profiler,
            survey=cluster.survey,
            machines=machines,
            facts=facts,
        )
