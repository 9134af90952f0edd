"""Going on with a run: finding it, and refusing what would make two studies of its folder."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from paraformer_bench.study import child
from paraformer_bench.study.case import digest
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import (
    REPORTS,
    RUN,
    RunInfo,
    Shard,
    Tree,
    read_info,
)
from paraformer_bench.sweep.plan import Settings, Study


@dataclass(frozen=True)
class Resumed:
    """A run to go on with: its ``run.json`` and its folder."""

    info: RunInfo
    folder: Path


def find_run(settings: Settings) -> Resumed | None:
    """Return the run to go on with; None for a new one.

    Raises:
        UsageError: There is none, or it cannot be resumed.
    """
    if not settings.resume:
        return None
    if settings.out is not None:
        return _read_resumable(settings.out)
    for path in sorted(REPORTS.glob(f"*/{RUN}"), reverse=True):
        try:
            run = _read_resumable(path.parent)
        except UsageError:
            continue
        if run.info.finished is None and settings.shard in (None, _split(run.info.shard)):
            return run
    what = f"unfinished {_words(settings.shard)}" if settings.shard else "unfinished run"
    raise UsageError(f"nothing to resume: {REPORTS}/ holds no {what}; name it with --out")


def _read_resumable(folder: Path) -> Resumed:
    """Read a run that can be gone on with, as far as the file itself tells."""
    info, warnings = read_info(folder)
    cannot = f"cannot resume {folder}: "
    if warnings:  # what makes no sense would be lost when the file is next written
        raise UsageError(cannot + warnings[0].replace(" and is ignored", ""))
    needed = ("suite", "device", "seed", "plugins", "identity")
    missing = [name for name in needed if getattr(info, name) in (None, {}, "")]
    if missing:
        raise UsageError(f"{cannot}{RUN} lacks {', '.join(missing)}")
    if info.parts is not None:
        raise UsageError(f"{cannot}it was merged: resume its shards, and merge them again")
    return Resumed(info, folder)


def shard_of(settings: Settings, run: Resumed) -> Shard | None:
    """A run goes on as the shard that it was begun as: else two jobs would do the same.

    Raises:
        UsageError: Another shard is asked for.
    """
    shard = run.info.shard
    if settings.shard not in (None, _split(shard)):
        was = f"shard {shard}" if shard else "a whole run"
        asked = _words(settings.shard)
        raise UsageError(f"cannot resume {run.folder} as {asked}: it was begun as {was}")
    return shard


def refuse_other_study(study: Study) -> None:
    """Records of two different studies must not share a folder.

    Raises:
        UsageError: Something changed since the run was begun.
    """
    stored = (study.resumed and study.resumed.identity) or {}
    if study.machine and "machine" not in stored:
        raise UsageError(f"cannot resume {study.folder} on a cluster: it was begun without one")
    own = identity(study)
    before: Tree = {"installed_plugins": {}} | stored  # older runs could not name them
    changed = [key.replace("_", " ") for key in own if own[key] != before.get(key)]
    if changed:
        raise UsageError(
            f"cannot resume {study.folder}: {' and '.join(changed)} changed since it was begun; "
            f"start a new run instead"
        )


def identity(study: Study) -> Tree:
    """What must not change between a run and its resumption; the number of blocks may."""
    suite = study.suite.table()
    del suite["protocol"]["blocks"]
    device = study.plan.device
    own = {
        "suite": _sha256(json.dumps(suite, sort_keys=True).encode()),
        "cases": digest(study.plan.all_cases),
        "plugins": {path: _sha256(Path(path).read_bytes()) for path in study.plan.plugins},
        "installed_plugins": study.survey.installed_plugins,
        "device": f"{device}: {study.survey.environment['devices'][device]}",
        "torch": study.survey.versions.get("torch"),
    }
    return own | ({"machine": study.machine} if study.machine else {})


def commit() -> str | None:
    """Commit of the checkout this package runs from, ``+changes`` if it has some."""
    if not (child.ROOT / ".git").exists():
        return None
    try:
        head, status = (
            subprocess.run(
                # Without locks: killed at a bad moment, it would leave one in the repository.
                ["git", "--no-optional-locks", "-C", str(child.ROOT), *arguments],
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


def _split(shard: Shard | None) -> tuple[int, int] | None:
    return (shard.number, shard.of) if shard else None


def _words(shard: tuple[int, int] | None) -> str:
    return "shard {} of {}".format(*shard) if shard else "a whole run"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
