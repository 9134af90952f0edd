"""By what a study is known again: its suite, cases, plugins and machine, and the code's commit."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from paraformer_bench.study import child
from paraformer_bench.sweep.plan import digest
from paraformer_bench.sweep.study import Study


def identity(study: Study) -> dict[str, Any]:
    """What must not change between a run and its resumption; the number of blocks may."""
    suite = study.suite.to_json()
    del suite["protocol"]["blocks"]
    device = study.plan.device
    own = {
        "suite": _digest(json.dumps(suite, sort_keys=True).encode()),
        "cases": digest([*study.plan.cases, *study.plan.skipped]),
        "plugins": {path: _digest(Path(path).read_bytes()) for path in study.plan.plugins},
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


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
