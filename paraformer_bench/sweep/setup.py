"""From what the user asked for to a checked plan and an open run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from paraformer_bench import __version__
from paraformer_bench.clusters.machines import fingerprint
from paraformer_bench.clusters.shard import MOST_BLOCKS, Shard
from paraformer_bench.study.calibration import place_of
from paraformer_bench.study.machine_file import CALIBRATIONS, CEILINGS
from paraformer_bench.study.profiling import ENDS
from paraformer_bench.study.run_folder import REPORTS, now
from paraformer_bench.study.suite import (
    Suite,
    expand,
    load_suite,
    override,
    parse_suite,
    skip_reason,
)
from paraformer_bench.study.survey import Survey, choose_device, take_survey
from paraformer_bench.sweep.identity import commit, identity
from paraformer_bench.sweep.resume import (
    find_run,
    refuse_other_machine,
    refuse_other_study,
    stored_shard,
)
from paraformer_bench.sweep.run import Plan
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.study import Settings, Study

DEFAULT_SUITE = "quick"

SurveyCluster = Callable[[Sequence[Path], str | None], Survey]
"""Surveys the machines of a cluster with plugin files, for the device that is asked for."""


def set_up(settings: Settings, survey_cluster: SurveyCluster | None = None) -> Study:
    """Check everything that can be checked before anything is written.

    Args:
        settings: What was asked for.
        survey_cluster: Surveys the machines that will measure; None for this one.

    Raises:
        UsageError: Something asked for is wrong, or a resumed run is not the same study.
    """
    stored, folder = find_run(settings) if settings.resume else (None, settings.out)
    suite = _choose_suite(settings, stored)
    if settings.blocks is not None:
        suite = replace(suite, protocol=replace(suite.protocol, blocks=settings.blocks))
    plugins = settings.plugins
    if stored and not plugins:
        plugins = tuple(Path(path) for path in stored["plugins"])
    plugins = tuple(path.resolve() for path in plugins)
    asked = stored["device"] if stored and settings.device is None else settings.device
    survey = survey_cluster(plugins, asked) if survey_cluster else take_survey(plugins)
    device = choose_device(survey, asked)
    cases = expand(suite, survey, device)
    skipped = {case: reason for case in cases if (reason := skip_reason(case, survey))}
    measured = [case for case in cases if case not in skipped]
    plan = Plan(
        cases=measured,
        skipped=skipped,
        device=device,
        protocol=suite.protocol,
        seed=(stored or {}).get("seed", 0),
        plugins=[str(path) for path in plugins],
        blocks=_most_blocks(settings, suite) if measured else suite.protocol.blocks,
        budget_seconds=settings.budget_seconds,
        profile=settings.profile or (stored or {}).get("profile", ENDS),
        shard=(stored_shard(settings, stored, folder) if stored else _new_shard(settings, suite)),
    )
    if folder is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = REPORTS / f"{stamp}-{_file_name(suite.name)}-{device.replace(':', '')}"
        if plan.shard:  # several may start in the same second
            folder = folder.with_name(f"{folder.name}-shard{plan.shard.number}of{plan.shard.of}")
    ceilings, warnings = CEILINGS.recall(place_of(survey, device))
    bound = survey_cluster is not None or "machine" in (stored or {}).get("identity", {})
    machine = fingerprint(survey, device) if bound else None
    study = Study(suite, plan, survey, folder, stored, None, ceilings, tuple(warnings), machine)
    if stored:
        refuse_other_study(study, stored)
        if "parts" not in stored:
            return study
        refuse_other_machine(study, stored)
    calibration, more = CALIBRATIONS.recall(place_of(survey, device))
    return replace(study, calibration=calibration, warnings=(*warnings, *more))


def open_store(study: Study, settings: Settings) -> Store:
    """Create the run folder of a new study, or reopen that of a resumed one.

    Raises:
        UsageError: It cannot be written, or holds another run.
    """
    if study.resumed:
        return Store.resume(study.folder, [*study.plan.cases, *study.plan.skipped])
    info = {
        "version": 1,
        "name": study.folder.name,
        **suite_of(study),
        "command": list(settings.command),
        "started": now(),
        "finished": None,
        "device": study.plan.device,
        "seed": study.plan.seed,
        "shard": study.plan.shard.to_json() if study.plan.shard else None,
        "plugins": study.plan.plugins,
        "models": _models(study),
        "installed_plugins": study.survey.installed_plugins,
        "identity": identity(study),
        "commit": commit(),
        "package": __version__,
        "environment": study.survey.environment,
        "versions": study.survey.versions,
        "calibration": study.calibration.to_json() if study.calibration else None,
        "ceilings": None,
        "ceilings_reason": "the sweep ended before they were measured",
        "efficiency": None,
        "profile": study.plan.profile,
        "profiles": {},
    }
    return Store.create(study.folder, info)


def suite_of(study: Study) -> dict[str, Any]:
    """Return what ``run.json`` holds of the suite: the suite, and its protocol once more."""
    suite = study.suite.to_json()
    return {"suite": suite, "protocol": suite["protocol"]}


def _choose_suite(settings: Settings, stored: dict[str, Any] | None) -> Suite:
    if stored and settings.suite is None:
        base = parse_suite(stored["suite"], "")
    else:
        base = load_suite(DEFAULT_SUITE if settings.suite is None else settings.suite)
    return override(base, settings.axes)


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


def _models(study: Study) -> dict[str, dict[str, Any]]:
    """What a reader must know of the run's models: whether they are controls, and their cost."""
    names = sorted({case.model for case in [*study.plan.cases, *study.plan.skipped]})
    items = {name: study.survey.models[name] for name in names}
    return {
        name: {"control": item.control, "cost": asdict(item.cost) if item.cost else None}
        for name, item in items.items()
    }


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:64]
