"""Whether folders hold parts of one and the same run: the same plan, code and kind of machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paraformer_bench.clusters.machine_kind import differences, kind, named
from paraformer_bench.clusters.merge_source import Source
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import RUN


def refuse_mixture(sources: Sequence[Source]) -> None:
    """Check that all folders can be joined.

    Raises:
        UsageError: Two of them differ in what a comparison must hold fixed.
    """
    first = sources[0]
    held = fixed(first)
    for other in sources[1:]:
        if found := differences(held, fixed(other)):
            raise UsageError(f"cannot merge {first.folder} and {other.folder}: {'; '.join(found)}")


def fixed(source: Source) -> dict[str, Any]:
    """Return what must be equal, by the name that a reader is told.

    Raises:
        UsageError: The folder's ``run.json`` makes no sense.
    """
    try:
        return _fixed(source)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        raise UsageError(f"cannot merge {source.folder}: its {RUN} makes no sense") from None


def _fixed(source: Source) -> dict[str, Any]:
    info = source.info
    suite, identity = info["suite"], info["identity"]
    environment, device = info["environment"], info["device"]
    splits = [(part.shard.of, part.shard.blocks) for part in source.parts if part.shard]
    of, blocks = splits[0]
    protocol = {name: value for name, value in suite["protocol"].items() if name != "blocks"}
    fixed = {
        "device": f"{device} ({environment['devices'].get(device)})",
        "number of shards": of,
        "blocks that the shards were made for": blocks,
        "seed": info["seed"],
        "suite": suite.get("name"),
        **named("claim", suite.get("claim")),
        **named("protocol", protocol),
        "grid": suite.get("grid"),
        "cases": identity.get("cases"),
        "plugin files": sorted(dict(identity.get("plugins") or {}).values()),
        "installed plugins": identity.get("installed_plugins"),
        "version of this package": info.get("package"),
        "commit": info.get("commit"),
    }
    return fixed | kind(device, environment, info["versions"])
