"""Several folders as one: their records, and what ``run.json`` says of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paraformer_bench.clusters.coverage import missing_shards
from paraformer_bench.clusters.merge_source import Source
from paraformer_bench.clusters.part import Part
from paraformer_bench.clusters.together import together
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.sweep.plan import digest


@dataclass(frozen=True)
class Joined:
    """The records of several folders.

    Attributes:
        lines: Every record once, block by block.
        keys: Case id and block of each.
        cases: Every case with a record.
        repeated: How many were there more than once.
    """

    lines: list[bytes]
    keys: set[tuple[str, int]]
    cases: list[Case]
    repeated: int


def join_records(sources: Sequence[Source]) -> Joined:
    """Return the records of all folders.

    What stands in two folders to the letter (a copy, or a run that was merged before and its
    parts) is kept once.

    Raises:
        UsageError: Two folders measured the same case in the same block.
    """
    kept: dict[tuple[str, int], tuple[bytes, Source]] = {}
    cases: dict[str, Case] = {}
    repeated = 0
    for source in sources:
        for record, line in source.records:
            before, owner = kept.setdefault(record.key, (line, source))
            if owner is source:
                cases.setdefault(record.key[0], record.case)
                continue
            if before != line:
                case_id, block = record.key
                raise UsageError(
                    f"cannot merge {owner.folder} and {source.folder}: both measured {case_id} "
                    f"in block {block}; give one of them"
                )
            repeated += 1
    ordered = sorted(kept.items(), key=lambda item: item[0][1])  # a run is written so
    lines = [line for _, (line, _) in ordered]
    return Joined(lines, set(kept), list(cases.values()), repeated)


def join_parts(sources: Sequence[Source]) -> list[Part]:
    """Return the parts of all sources by their numbers, each once and in its latest state."""
    latest: dict[tuple[Any, ...], Part] = {}
    for part in (part for source in sources for part in source.parts):
        number = part.shard.number if part.shard else None
        key = (number, part.data.get("started"), part.data.get("name"))
        other = latest.get(key)
        if other is None or (part.blocks, part.finished) > (other.blocks, other.finished):
            latest[key] = part
    return sorted(latest.values(), key=_place)


def join_info(
    sources: Sequence[Source],
    parts: Sequence[Part],
    joined: Joined,
    name: str,
    command: Sequence[str],
) -> dict[str, Any]:
    """Return the ``run.json`` of the merged run."""
    longest = max(sources, key=lambda source: source.blocks)
    first = longest.info
    missing = missing_shards(
        parts,
        longest.blocks,
        joined.cases,
        joined.keys,
        every_case=first["identity"].get("cases") in (None, digest(joined.cases)),
        continued=any(source.finished and "parts" in source.info for source in sources),
    )
    known = [part.data for part in parts]
    told = [*known, *(source.info for source in sources)]
    ends = [str(data["finished"]) for data in told if data.get("finished")]
    ceilings, reason = _ceilings(known)
    return first | {
        "name": name,
        "command": list(command),
        "started": min(str(data.get("started")) for data in known),
        "finished": max(ends, default=None) if not missing else None,
        "missing": missing,
        "shard": None,
        **together(known),
        "ceilings": ceilings,
        "ceilings_reason": reason,
        "profiles": _profiles(sources),
        "parts": known,
    }


def _place(part: Part) -> tuple[int, str]:
    """Shards in their order, then later sittings."""
    number = part.shard.number if part.shard else part.blocks + 10**9
    return number, str(part.data.get("started"))


def _ceilings(parts: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Return the first ceilings that nothing disturbed, or the first at all, or the reason."""
    known = [part["ceilings"] for part in parts if isinstance(part.get("ceilings"), Mapping)]
    undisturbed = [ceilings for ceilings in known if not ceilings.get("flags")]
    if known:
        return (undisturbed or known)[0], None
    return None, parts[0].get("ceilings_reason")


def _profiles(sources: Sequence[Source]) -> dict[str, Any]:
    """Return what became of each case's timeline; one that was taken before one that was not."""
    found: dict[str, Any] = {}
    for source in sources:
        profiles = source.info.get("profiles")
        for case_id, profile in (profiles if isinstance(profiles, dict) else {}).items():
            taken = isinstance(profile, dict) and profile.get("file") is not None
            if case_id not in found or (taken and found[case_id].get("file") is None):
                found[case_id] = profile
    return found
