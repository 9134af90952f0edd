"""Going on with a run: finding it, and refusing what would make two studies of its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paraformer_bench import __version__
from paraformer_bench.clusters.machine_kind import differences, kind
from paraformer_bench.clusters.part import Part
from paraformer_bench.clusters.shard import Shard
from paraformer_bench.clusters.together import together
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.profiling import CHOICES
from paraformer_bench.study.run_folder import REPORTS, RUN, read_run
from paraformer_bench.sweep.identity import commit, identity
from paraformer_bench.sweep.study import Settings, Study


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
    """Return ``run.json`` of a run that can be gone on with, as far as the file itself tells."""
    info = read_run(folder).info
    missing = [
        key for key in ("suite", "device", "seed", "plugins", "identity") if key not in info
    ]
    if missing:
        raise UsageError(f"cannot resume {folder}: {RUN} lacks {', '.join(missing)}")
    wrong = [key for key, sane in _SANE.items() if key in info and not sane(info[key])]
    if wrong:
        raise UsageError(
            f"cannot resume {folder}: {' and '.join(wrong)} in its {RUN} makes no sense"
        )
    try:
        json.dumps(info, allow_nan=False)
    except ValueError:
        raise UsageError(
            f"cannot resume {folder}: its {RUN} holds NaN or infinity, which is no JSON"
        ) from None
    return info


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_null(value: Any) -> bool:
    return value is None or _text(value)


def _efficiency(value: Any) -> bool:
    """Check the time of earlier sittings, to which that of this one is added; null is unknown."""
    if value is None:
        return True
    times = {"device_seconds": 0.0, **value} if isinstance(value, dict) else {}
    needed = ("wall_seconds", "busy_seconds", "device_seconds")
    return all(isinstance(times.get(name), int | float) for name in needed)


_SANE: dict[str, Callable[[Any], bool]] = {
    "suite": _table,
    "device": _text,
    "seed": lambda value: isinstance(value, int),
    "plugins": lambda value: isinstance(value, list) and all(map(_text, value)),
    "identity": _table,
    "efficiency": _efficiency,
    "profile": lambda value: value in CHOICES,
    "profiles": lambda value: (
        value is None or (_table(value) and all(map(_table, value.values())))
    ),
    "launcher": _text_or_null,
    "ray_address": _text_or_null,
    "ray_nodes": _text_or_null,
    "machines": lambda value: (
        value is None
        or (isinstance(value, list) and all(_table(one) and "node" in one for one in value))
    ),
}
"""What a resumed sweep takes from ``run.json``, and whether a value can be that."""


def stored_shard(
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


def refuse_other_study(study: Study, stored: dict[str, Any]) -> None:
    """Records of two different studies must not share a folder."""
    if study.machine and "machine" not in stored["identity"]:
        raise UsageError(f"cannot resume {study.folder} on a cluster: it was begun without one")
    own = identity(study)
    before = {"installed_plugins": {}} | stored["identity"]  # older runs could not name them
    changed = [key.replace("_", " ") for key in own if own[key] != before.get(key)]
    if changed:
        raise UsageError(
            f"cannot resume {study.folder}: {' and '.join(changed)} changed since it was begun; "
            f"start a new run instead"
        )


def refuse_other_machine(study: Study, stored: dict[str, Any]) -> None:
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
        "commit": commit(),
        **kind(device, survey.environment, survey.versions),
    }
    if found := differences(held, here):
        raise UsageError(
            f"cannot resume {study.folder} here, for its parts must be alike: {'; '.join(found)}"
        )
