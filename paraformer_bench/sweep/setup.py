"""From what the user asked for to a checked plan and an open run folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from paraformer_bench import __version__, child
from paraformer_bench.calibration import Calibration, place_of
from paraformer_bench.ceilings import Ceilings
from paraformer_bench.errors import UsageError
from paraformer_bench.machine_file import CALIBRATIONS, CEILINGS
from paraformer_bench.profiling import ENDS
from paraformer_bench.run_folder import REPORTS, RUN, read_run
from paraformer_bench.suite import Suite, expand, load_suite, override, parse_suite, skip_reason
from paraformer_bench.survey import Survey, choose_device, take_survey
from paraformer_bench.sweep.machine_kind import differences, kind
from paraformer_bench.sweep.machines import fingerprint
from paraformer_bench.sweep.part import Part
from paraformer_bench.sweep.plan import digest
from paraformer_bench.sweep.run import Plan
from paraformer_bench.sweep.shard import MOST_BLOCKS, Shard
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.together import together

DEFAULT_SUITE = "quick"

SurveyCluster = Callable[[Sequence[Path], str | None], Survey]
"""Surveys the machines of a cluster with plugin files, for the device that is asked for."""


@dataclass(frozen=True)
class Settings:
    """What the command line asked for; None or empty where it said nothing.

    Attributes:
        suite: Name or file of the suite.
        axes: Values that replace the suite's own, by axis.
        device: ``cpu`` or ``cuda:N``.
        plugins: Plugin files.
        blocks: Blocks, instead of the suite's own number.
        budget_seconds: Time after which no block is started.
        out: Run folder.
        resume: Go on with the run in ``out``, or with the newest unfinished one.
        profile: Cases to profile, one of `profiling.CHOICES`.
        shard: Number of the shard to do, and how many there are; None for the whole sweep.
        command: The command as typed, kept for the record.
        launcher: ``local`` or ``ray``; None for that of the resumed run, else ``local``.
        ray_address: The cluster; None for that of the resumed run, else one on this machine.
        ray_nodes: Part of the names of the hosts or devices to use.
    """

    suite: str | None = None
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    device: str | None = None
    plugins: tuple[Path, ...] = ()
    blocks: int | None = None
    budget_seconds: float | None = None
    out: Path | None = None
    resume: bool = False
    profile: str | None = None
    shard: tuple[int, int] | None = None
    command: tuple[str, ...] = ()
    launcher: str | None = None
    ray_address: str | None = None
    ray_nodes: str | None = None


@dataclass(frozen=True)
class Study:
    """A checked request: nothing is written yet.

    Attributes:
        suite: With all overrides applied.
        plan: What to do.
        survey: What is here.
        folder: Where the run will lie or lies.
        resumed: ``run.json`` of the run to go on with, or None.
        calibration: The last one of this device with this PyTorch, for a new run or part of one.
        ceilings: The last ones of this device with this PyTorch.
        warnings: What was wrong with what is kept of this machine, one line each.
        machine: Fingerprint of the type of machine that all records come from; None where the
            run is bound to no other than this machine.
    """

    suite: Suite
    plan: Plan
    survey: Survey
    folder: Path
    resumed: dict[str, Any] | None
    calibration: Calibration | None = None
    ceilings: Ceilings | None = None
    warnings: tuple[str, ...] = ()
    machine: str | None = None


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
        shard=(_stored_shard(settings, stored, folder) if stored else _new_shard(settings, suite)),
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
        _refuse_other_study(study, stored)
        if "parts" not in stored:
            return study
        _refuse_other_machine(study, stored)
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
        "suite": study.suite.to_json(),
        "command": list(settings.command),
        "started": now(),
        "finished": None,
        "device": study.plan.device,
        "seed": study.plan.seed,
        "shard": study.plan.shard.to_json() if study.plan.shard else None,
        "plugins": study.plan.plugins,
        "models": _models(study),
        "installed_plugins": study.survey.installed_plugins,
        "identity": _identity(study),
        "commit": _commit(),
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


def now() -> str:
    """Return the time as ISO text in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def find_run(settings: Settings) -> tuple[dict[str, Any], Path]:
    """Return ``run.json`` and folder of the run to go on with.

    Raises:
        UsageError: There is none, or it cannot be resumed.
    """
    if settings.out is not None:
        return _read_resumable(settings.out), settings.out
    for path in sorted(REPORTS.glob(f"*/{RUN}"), reverse=True):
        try:
            info = _read_resumable(path.parent)
            shard = _shard_in(info, path.parent)
        except UsageError:
            continue
        wanted = settings.shard in (None, (shard.number, shard.of) if shard else None)
        if info.get("finished") is None and wanted:
            return info, path.parent
    what = f"unfinished {_words(settings.shard)}" if settings.shard else "unfinished run"
    raise UsageError(f"nothing to resume: {REPORTS}/ holds no {what}; name it with --out")


def _read_resumable(folder: Path) -> dict[str, Any]:
    info = read_run(folder).info
    missing = [
        key for key in ("suite", "device", "seed", "plugins", "identity") if key not in info
    ]
    if missing:
        raise UsageError(f"cannot resume {folder}: {RUN} lacks {', '.join(missing)}")
    return info


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


def _stored_shard(
    settings: Settings, stored: Mapping[str, Any], folder: Path | None
) -> Shard | None:
    """A run goes on as the shard that it was begun as: else two jobs would do the same."""
    shard = _shard_in(stored, folder)
    if settings.shard and (shard is None or (shard.number, shard.of) != settings.shard):
        was = _words((shard.number, shard.of)) if shard else "a whole run"
        raise UsageError(
            f"cannot resume {folder} as {_words(settings.shard)}: it was begun as {was}"
        )
    return shard


def _words(shard: tuple[int, int]) -> str:
    return "shard {} of {}".format(*shard)


def _shard_in(info: Mapping[str, Any], folder: Path | None) -> Shard | None:
    """Return the shard that ``run.json`` names, if it does."""
    data = info.get("shard")
    try:
        return Shard.from_json(data) if data is not None else None
    except (KeyError, TypeError, UsageError):
        raise UsageError(
            f"cannot resume {folder}: the shard in its {RUN} makes no sense"
        ) from None


def _most_blocks(settings: Settings, suite: Suite) -> int:
    """A budget takes the place of the suite's number of blocks, unless one was asked for."""
    if settings.budget_seconds is not None and settings.blocks is None:
        return MOST_BLOCKS
    return suite.protocol.blocks


def _refuse_other_study(study: Study, stored: dict[str, Any]) -> None:
    """Records of two different studies must not share a folder."""
    if study.machine and "machine" not in stored["identity"]:
        raise UsageError(f"cannot resume {study.folder} on a cluster: it was begun without one")
    identity = _identity(study)
    before = {"installed_plugins": {}} | stored["identity"]  # older runs could not name them
    changed = [key.replace("_", " ") for key in identity if identity[key] != before.get(key)]
    if changed:
        raise UsageError(
            f"cannot resume {study.folder}: {' and '.join(changed)} changed since it was begun; "
            f"start a new run instead"
        )


def _refuse_other_machine(study: Study, stored: dict[str, Any]) -> None:
    """A merged run goes on where each of its parts could have been: `merge` asks for no less."""
    device, survey = study.plan.device, study.survey
    try:
        if not any(Part.from_json(part).shard for part in stored["parts"]):
            raise ValueError("no shard is among its parts")
        held = {
            "version of this package": stored.get("package"),
            "commit": stored.get("commit"),
            **kind(device, stored["environment"], stored["versions"]),
        }
        together(stored["parts"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, UsageError) as error:
        raise UsageError(
            f"cannot resume {study.folder}: the parts in its {RUN} make no sense: {error}"
        ) from None
    here = {
        "version of this package": __version__,
        "commit": _commit(),
        **kind(device, survey.environment, survey.versions),
    }
    if found := differences(held, here):
        raise UsageError(
            f"cannot resume {study.folder} here, for its parts must be alike: {'; '.join(found)}"
        )


def _identity(study: Study) -> dict[str, Any]:
    """What must not change between a run and its resumption; the number of blocks may."""
    suite = study.suite.to_json()
    del suite["protocol"]["blocks"]
    device = study.plan.device
    identity = {
        "suite": _digest(json.dumps(suite, sort_keys=True).encode()),
        "cases": digest([*study.plan.cases, *study.plan.skipped]),
        "plugins": {path: _digest(Path(path).read_bytes()) for path in study.plan.plugins},
        "installed_plugins": study.survey.installed_plugins,
        "device": f"{device}: {study.survey.environment['devices'][device]}",
        "torch": study.survey.versions.get("torch"),
    }
    return identity | ({"machine": study.machine} if study.machine else {})


def _models(study: Study) -> dict[str, dict[str, Any]]:
    """What a reader must know of the run's models: whether they are controls, and their cost."""
    names = sorted({case.model for case in [*study.plan.cases, *study.plan.skipped]})
    items = {name: study.survey.models[name] for name in names}
    return {
        name: {"control": item.control, "cost": asdict(item.cost) if item.cost else None}
        for name, item in items.items()
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _commit() -> str | None:
    """Commit of the checkout this package runs from, ``+changes`` if it has some."""
    if not (child.ROOT / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(
                ["git", "-C", str(child.ROOT), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=30,
            ).stdout.strip()
            for arguments in (
                ("rev-parse", "HEAD"),
                # Reports are what runs write: they do not change what is measured.
                ("status", "--porcelain", "-uno", "--", ":/", ":(exclude,top)reports"),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if status else head


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:64]
