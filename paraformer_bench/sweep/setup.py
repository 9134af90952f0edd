"""From what the user asked for to a checked plan, a place to measure and an open run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from paraformer_bench.clusters.machines import fingerprint
from paraformer_bench.study import __version__
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.machine_file import CALIBRATIONS, CEILINGS
from paraformer_bench.study.run_folder import (
    MOST_BLOCKS,
    REPORTS,
    ModelFacts,
    RunInfo,
    Shard,
    Tree,
    now,
)
from paraformer_bench.study.suite import (
    Suite,
    expand,
    load_suite,
    override,
    parse_suite,
    skip_reason,
)
from paraformer_bench.study.survey import choose_device
from paraformer_bench.study.timelines import ENDS
from paraformer_bench.sweep.plan import Plan, Settings, Study
from paraformer_bench.sweep.resume import Resumed, commit, identity, refuse_other_study, shard_of
from paraformer_bench.sweep.store import Store
from paraformer_bench.workers.ask import take_survey

if TYPE_CHECKING:
    from paraformer_bench.clusters.ray import RayCluster

DEFAULT_SUITE = "quick"
LOCAL, RAY = "local", "ray"


@dataclass(frozen=True)
class Launcher:
    """Where a sweep measures: on this machine, or on those of a Ray cluster.

    Attributes:
        name: `LOCAL` or `RAY`.
        address: The cluster; None for one on this machine.
        nodes: Text in the names of the hosts or devices to use.
    """

    name: str = LOCAL
    address: str | None = None
    nodes: str | None = None

    @classmethod
    def of(cls, settings: Settings, run: Resumed | None) -> Launcher:
        """Return the one that was asked for, or that of the run to go on with.

        Raises:
            UsageError: Something is asked of a cluster, and there is none.
        """
        stored = run.info if run else RunInfo()
        if (settings.launcher or stored.launcher or LOCAL) == RAY:
            address = settings.ray_address or stored.ray_address or os.environ.get("RAY_ADDRESS")
            return cls(RAY, address or None, settings.ray_nodes or stored.ray_nodes)
        for option, value in (("address", settings.ray_address), ("nodes", settings.ray_nodes)):
            if value is not None:
                raise UsageError(f"--ray-{option} is for --launcher ray")
        return cls()

    @contextmanager
    def connected(self, say: Callable[[str], None]) -> Iterator[RayCluster | None]:
        """Connect to the cluster, if it is one.

        Args:
            say: Receives what there is to say of machines, a line each.

        Raises:
            UsageError: Ray is not installed, or there is no cluster.
        """
        if self.name == LOCAL:
            yield None
            return
        from paraformer_bench.clusters.ray import connect

        with connect(self.address, self.nodes, say) as cluster:
            yield cluster

    def note(self, store: Store, cluster: RayCluster | None) -> None:
        """Note in ``run.json`` where the run is measured; nodes that were there before stay."""
        if cluster is None:
            store.update(launcher=self.name)
            return
        nodes = {node.node: node for node in [*(store.info.machines or []), *cluster.nodes]}
        store.update(
            launcher=self.name,
            ray_address=self.address,
            ray_nodes=self.nodes,
            machines=list(nodes.values()),
        )


def set_up(
    settings: Settings, run: Resumed | None = None, cluster: RayCluster | None = None
) -> Study:
    """Check everything that can be checked before anything is written.

    Args:
        settings: What was asked for.
        run: The run to go on with.
        cluster: Its machines will measure; None for this one.

    Raises:
        UsageError: Something asked for is wrong, or a resumed run is not the same study.
    """
    stored = run.info if run else RunInfo()
    suite = _choose_suite(settings, stored)
    plugins = tuple(path.resolve() for path in settings.plugins or map(Path, stored.plugins or ()))
    asked = settings.device if settings.device is not None else stored.device
    survey = cluster.survey(plugins, asked) if cluster else take_survey(plugins)
    device = choose_device(survey, asked)
    cases = expand(suite, survey, device)
    skipped = {case: reason for case in cases if (reason := skip_reason(case, survey))}
    measured = [case for case in cases if case not in skipped]
    plan = Plan(
        cases=measured,
        skipped=skipped,
        device=device,
        protocol=suite.protocol,
        seed=stored.seed or 0,
        plugins=[str(path) for path in plugins],
        blocks=_most_blocks(settings, suite) if measured else suite.protocol.blocks,
        budget_seconds=settings.budget_seconds,
        profile=settings.profile or (stored.profile if run else ENDS),
        shard=shard_of(settings, run) if run else _new_shard(settings, suite),
    )
    place = survey.place(device)
    ceilings, warnings = CEILINGS.recall(place)
    calibration = None
    if run is None:
        calibration, more = CALIBRATIONS.recall(place)
        warnings = [*warnings, *more]
    bound = cluster is not None or "machine" in (stored.identity or {})
    study = Study(
        suite=suite,
        plan=plan,
        survey=survey,
        folder=run.folder if run else settings.out or _new_folder(suite, plan),
        resumed=run.info if run else None,
        calibration=calibration,
        ceilings=ceilings,
        warnings=tuple(warnings),
        machine=fingerprint(survey, device) if bound else None,
    )
    if run:
        refuse_other_study(study)
    return study


def open_store(study: Study, settings: Settings) -> Store:
    """Create the run folder of a new study, or reopen that of a resumed one.

    Raises:
        UsageError: It cannot be written, or holds another run.
    """
    if study.resumed:
        return Store.resume(study.folder, study.plan.all_cases)
    plan, survey = study.plan, study.survey
    models = {name: survey.models[name] for name in sorted({c.model for c in plan.all_cases})}
    info = RunInfo(
        name=study.folder.name,
        **suite_of(study),
        command=list(settings.command),
        started=now(),
        device=plan.device,
        seed=plan.seed,
        shard=plan.shard,
        plugins=plan.plugins,
        models={name: ModelFacts(m.control, m.cost) for name, m in models.items()},
        installed_plugins=survey.installed_plugins,
        identity=identity(study),
        commit=commit(),
        package=__version__,
        environment=survey.environment,
        versions={**survey.versions},
        calibration=study.calibration,
        ceilings_reason="the sweep ended before they were measured",
        profile=plan.profile,  # type: ignore[arg-type]
    )
    return Store.create(study.folder, info)


def suite_of(study: Study) -> Tree:
    """Return what ``run.json`` holds of the suite: the suite, and its protocol once more."""
    suite = study.suite.table()
    return {"suite": suite, "protocol": suite["protocol"]}


def _choose_suite(settings: Settings, stored: RunInfo) -> Suite:
    if settings.suite is None and stored.suite:
        suite = parse_suite(stored.suite, "")
    else:
        suite = load_suite(DEFAULT_SUITE if settings.suite is None else settings.suite)
    suite = override(suite, settings.axes)
    if settings.blocks is None:
        return suite
    return replace(suite, protocol=replace(suite.protocol, blocks=settings.blocks))


def _new_shard(settings: Settings, suite: Suite) -> Shard | None:
    if settings.shard is None:
        return None
    known = settings.budget_seconds is None or settings.blocks is not None
    return Shard(*settings.shard, suite.protocol.blocks if known else None)


def _most_blocks(settings: Settings, suite: Suite) -> int:
    """A budget takes the place of the suite's number of blocks, unless one was asked for."""
    if settings.budget_seconds is not None and settings.blocks is None:
        return MOST_BLOCKS
    return suite.protocol.blocks


def _new_folder(suite: Suite, plan: Plan) -> Path:
    """Return where a run lies that was not told where."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in suite.name)[:64]
    # Several shards may start in the same second.
    shard = f"-shard{plan.shard.number}of{plan.shard.of}" if plan.shard else ""
    return REPORTS / f"{stamp}-{name}-{plan.device.replace(':', '')}{shard}"
