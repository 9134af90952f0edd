"""The command ``merge``: the run folders of shards become one run, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.words import more_blocks, sentences
from paraformer_bench.clusters.machines import differences, kind, named
from paraformer_bench.clusters.shard import cycle, owner_of, owners, whole_blocks
from paraformer_bench.report.build import build_report
from paraformer_bench.report.index import build_index
from paraformer_bench.study import wire
from paraformer_bench.study.case import Case, digest
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import (
    JOURNAL,
    RECORDS,
    REPORTS,
    RUN,
    Efficiency,
    Part,
    RunInfo,
    Shard,
    Tree,
    as_json,
    read_info,
    read_lines,
    read_record_lines,
    read_run,
)
from paraformer_bench.study.suite import parse_protocol
from paraformer_bench.study.timelines import ENDING, TRACES, Profile

_NEEDED = ("suite", "device", "seed", "identity", "environment", "versions")


def merge(folders: Sequence[Path], out: Path, command: Sequence[str]) -> Iterator[str]:
    """Join the folders of shards into one run, report it, and yield what to print.

    Args:
        folders: Of shards, or of runs that were merged before.
        out: The new run folder.
        command: As typed, kept for the record.

    Raises:
        UsageError: A folder cannot be read, they are no parts of one run, or ``out`` is there
            already or cannot be written. Nothing is written then.
    """
    _refuse_existing(out)
    # The result must not depend on the order of the command.
    sources = sorted(map(_read, folders), key=lambda source: (source.shard.number, source.folder))
    first, *others = ((source.folder, _fixed(source)) for source in sources)
    for folder, facts in others:
        if differing := differences(first[1], facts):
            raise UsageError(f"cannot merge {first[0]} and {folder}: {'; '.join(differing)}")
    records, repeated = _join_records(sources)
    info = _join_info(sources, records.values(), out.resolve().name, command)
    _write(out, info, records, sources)
    for source in sources:
        yield from (f"warning: {source.folder}: {warning}" for warning in source.warnings)
    if repeated:
        yield f"{repeated} records that stood in several folders to the letter are kept once"
    shards = {part.shard.number for part in info.parts or [] if part.shard}
    yield f"merged {len(shards)} of {sources[0].shard.of} shards: {len(records)} records"
    if info.missing:
        missing = ", ".join(info.missing)
        yield f"the run is unfinished without {missing}: finish them and merge again"
    yield f"report: {build_report(out)}"
    if out.resolve().parent.name == REPORTS.name:
        build_index(out.parent)
    run = read_run(out)
    verdicts = verdict_file(run)
    yield from sentences(verdicts, run.info)
    if not info.missing and (more := more_blocks(verdicts)):
        blocks, sentence = more
        yield f"{sentence}: resume every shard with --blocks {blocks}, and merge again"


@dataclass(frozen=True)
class _Source:
    """A run folder to merge: a shard, or a run that was merged before."""

    folder: Path
    info: RunInfo
    blocks: int  # of the whole run, as far as this folder knows
    parts: list[Part]
    shard: Shard  # the first among the parts
    records: list[tuple[Record, bytes]]
    warnings: list[str]


def _read(folder: Path) -> _Source:
    """Read a folder; refuse one that holds neither a shard nor a merged run."""
    info, odd = read_info(folder)
    if odd:
        raise UsageError(f"cannot merge {folder}: {odd[0].replace(' and is ignored', '')}")
    if info.shard is None and info.parts is None:
        raise UsageError(f"cannot merge {folder}: it is a whole run, not a shard of one")
    try:
        if lacking := [name for name in _NEEDED if getattr(info, name) in (None, {})]:
            raise UsageError(f"it lacks {', '.join(lacking)}")
        blocks = parse_protocol(wire.convert(info.suite.get("protocol"), Tree)).blocks
    except (UsageError, wire.Malformed) as error:
        raise UsageError(f"cannot merge {folder}: its {RUN} makes no sense: {error}") from None
    parts = info.parts
    if parts is None:
        kept = (name for name in Part.__struct_fields__ if name != "blocks")
        parts = [Part(**{name: getattr(info, name) for name in kept}, blocks=blocks)]
    shards = [part.shard for part in parts if part.shard]
    if not shards:
        raise UsageError(f"cannot merge {folder}: it holds no shard")
    shard = min(shards, key=lambda shard: shard.number)
    records, warnings = read_record_lines(folder / RECORDS)
    if read_lines(folder / JOURNAL):
        warnings.append(
            f"it was killed or is still going; the samples in its {JOURNAL} become records when "
            "it is resumed"
        )
    return _Source(folder, info, blocks, parts, shard, records, warnings)


def _fixed(source: _Source) -> Tree:
    """Return what must be equal in all folders, by the name that a reader is told."""
    info, suite, identity = source.info, source.info.suite, source.info.identity or {}
    try:
        return {
            "device": f"{info.device} ({info.environment['devices'].get(info.device)})",
            "number of shards": source.shard.of,
            "blocks that the shards were made for": source.shard.blocks,
            "seed": info.seed,
            "suite": suite.get("name"),
            **named("claim", suite.get("claim")),
            **named("protocol", {**suite["protocol"], "blocks": None}),
            "grid": suite.get("grid"),
            "cases": identity.get("cases"),
            "plugin files": sorted(dict(identity.get("plugins") or {}).values()),
            "installed plugins": identity.get("installed_plugins"),
            "version of this package": info.package,
            "commit": info.commit,
            **kind(str(info.device), info),
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UsageError(f"cannot merge {source.folder}: its {RUN} makes no sense") from None


def _join_records(sources: Sequence[_Source]) -> tuple[dict[bytes, Record], int]:
    """Return every record once by its line, block by block, and how many were there more often.

    One that stands in two folders may be a copy, or have come into a run that was merged before.
    """
    kept: dict[tuple[str, int], tuple[Record, bytes, _Source]] = {}
    repeated = 0
    for source in sources:
        for record, line in source.records:
            _, before, owner = kept.setdefault(record.key, (record, line, source))
            if before != line:
                case_id, block = record.key
                raise UsageError(
                    f"cannot merge {owner.folder} and {source.folder}: both measured {case_id} "
                    f"in block {block}; give one of them"
                )
            repeated += owner is not source
    ordered = sorted(kept.values(), key=lambda entry: entry[0].block)  # a run is written so
    return {line: record for record, line, _ in ordered}, repeated


def _join_info(
    sources: Sequence[_Source], records: Collection[Record], name: str, command: Sequence[str]
) -> RunInfo:
    """Return the ``run.json`` of the merged run."""
    longest = max(sources, key=lambda source: source.blocks)
    parts = _join_parts(sources)
    missing = _missing(parts, longest, records)
    ends = [part.finished for part in parts if part.finished]
    ceilings = [part.ceilings for part in parts if part.ceilings]
    ceilings.sort(key=lambda measured: bool(measured.flags))  # what was disturbed stands last
    environment = _common([part.environment for part in parts])
    hosts = dict.fromkeys(str((p.environment.get("host") or {}).get("name")) for p in parts)
    environment["host"] = environment.get("host", {}) | {"name": ", ".join(hosts)}
    calibrations = [part.calibration for part in parts if part.calibration]
    calibrations.sort(key=lambda c: max(abs(reading.share) for reading in c.readings))
    return replace(
        longest.info,
        name=name,
        command=list(command),
        started=min((part.started for part in parts if part.started), default=None),
        finished=None if missing else max(ends, default=None),
        missing=missing,
        shard=None,
        environment=environment,
        versions=_common([part.versions for part in parts]),
        # The one that is furthest off, if each part has one.
        calibration=calibrations[-1] if len(calibrations) == len(parts) else None,
        efficiency=_efficiency(parts),
        ceilings=ceilings[0] if ceilings else None,
        ceilings_reason=None if ceilings else parts[0].ceilings_reason,
        profiles=_profiles(sources),
        parts=parts,
    )


def _missing(parts: Sequence[Part], longest: _Source, records: Collection[Record]) -> list[str]:
    """Say which shards are absent or unfinished, or have fewer records than their share.

    The records are counted: the jobs themselves may say otherwise.
    """
    split, blocks = longest.shard, longest.blocks
    cases = list(dict.fromkeys(record.case for record in records))
    every_case = (longest.info.identity or {}).get("cases") in (None, digest(cases))
    jobs: dict[int, list[Part]] = defaultdict(list)
    for part in parts:
        if part.shard:
            jobs[part.shard.number].append(part)
    lacking = Counter[int]()
    if every_case or whole_blocks(split):  # else nobody knows whose a group is
        lacking = _lacking(split, jobs, blocks, cases, {record.key for record in records})
    said = []
    for number in range(1, split.of + 1):
        lacks = lacking[number]
        if number not in jobs:
            # One to which nothing fell need not be there.
            if lacks or not every_case or split.blocks is None:
                said.append(f"shard {number}")
        elif not any(part.finished for part in jobs[number]):
            said.append(f"shard {number} (unfinished)")
        elif lacks:
            done = max(part.blocks or 0 for part in jobs[number])
            why = f"lacks {lacks} record{'' if lacks == 1 else 's'}"
            if split.blocks is not None and done < blocks:
                why = f"of {done} blocks, not {blocks}"
            said.append(f"shard {number} ({why})")
    if not said and not every_case:
        said.append("cases of which there is no record")
    return said


def _lacking(
    split: Shard,
    numbers: Collection[int],
    blocks: int,
    cases: Sequence[Case],
    keys: Collection[tuple[str, int]],
) -> Counter[int]:
    """Return how many records of each shard's share are not there."""
    begun = {block for _, block in keys}
    due = begun | set(range(blocks))
    if split.blocks is None:
        # Each goes through its own blocks in their order, and always does the first.
        firsts = range(0, cycle(split), 2)
        begun |= {block for block in firsts if owner_of(split, block) in numbers}
        last = {owner_of(split, block): block for block in sorted(begun)}
        reach = range(max(begun) + 1)
        due = {block for block in reach if block <= last.get(owner_of(split, block), -1)}
    lacking = Counter[int]()
    for block in due:
        owner = owners(split, cases, block)
        lacking.update(owner[case.group] for case in cases if (case.id, block) not in keys)
    return lacking


def _join_parts(sources: Sequence[_Source]) -> list[Part]:
    """Return the parts of all sources by their numbers, each once and in its latest state."""

    def identity(part: Part) -> tuple[float, str, str]:
        # Older versions could go on with a merged run: that is a part without a number, the last.
        return part.shard.number if part.shard else inf, str(part.started), str(part.name)

    parts = [part for source in reversed(sources) for part in source.parts]
    parts.sort(key=lambda part: (part.blocks or 0, part.finished is not None))
    latest = {identity(part): part for part in parts}
    return [latest[key] for key in sorted(latest)]


def _common(tables: Sequence[Mapping[str, Any]]) -> Tree:
    """Return what all tables say alike, at every depth."""
    common: Tree = {}
    for key, first in tables[0].items():
        values = [table.get(key) for table in tables]
        if len(nested := [value for value in values if isinstance(value, Mapping)]) == len(values):
            common[key] = _common(nested)
        elif all(value == first for value in values):
            common[key] = first
    return common


def _efficiency(parts: Sequence[Part]) -> Efficiency | None:
    """Return the time of all jobs together; None where one does not know its own."""
    times = [part.efficiency for part in parts if part.efficiency]
    if len(times) < len(parts):
        return None
    wall = round(sum(time.wall_seconds for time in times), 3)
    busy = round(sum(time.busy_seconds for time in times), 3)
    return Efficiency(wall, busy, round(busy / wall, 4) if wall else None)


def _profiles(sources: Sequence[_Source]) -> dict[str, Profile]:
    """Return what became of each case's timeline; one that was taken before one that was not."""
    every = [source.info.profiles or {} for source in reversed(sources)]
    items = [item for profiles in every for item in profiles.items()]
    return dict(sorted(items, key=lambda item: item[1].file is not None))  # the last one stands


def _write(out: Path, info: RunInfo, lines: Iterable[bytes], sources: Sequence[_Source]) -> None:
    """Write a run folder beside its place, and put it there in one step."""
    draft = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        for source in sources:
            for path in source.folder.glob(f"{TRACES}/*/*{ENDING}"):
                copy = draft / path.relative_to(source.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)  # one that is there is equal: names end in the time
        _write_file(draft / RECORDS, b"".join(lines))
        _write_file(draft / RUN, as_json(info.plain()))
        _refuse_existing(out)
        draft.rename(out)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already: name another folder with --out")
