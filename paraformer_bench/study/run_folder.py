"""The run folder on disk: its files' names, what ``run.json`` holds, and how to read all of it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from paraformer_bench.study import wire
from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.case import Case
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.garbage import nothing_collected
from paraformer_bench.study.record import READER, Record
from paraformer_bench.study.timelines import ENDS, Profile

REPORTS = Path("reports")
"""Where runs are kept, below the working directory."""

RUN = "run.json"
RECORDS = "records.jsonl"
VERDICTS = "verdicts.json"
PREDICTIONS = "predictions.json"
TIMELINES = "timelines.json"
PARQUET = "cases.parquet"
PAGE = "index.html"
JOURNAL = "journal.jsonl"
"""Events of the cases under way; emptied as soon as they have become records."""

_LONGEST = 300
"""Characters of a reason that are shown: it may quote a value of any length."""

Tree = dict[str, Any]
"""Facts for people to read: of a machine, say. Their names are as the page shows them."""


class Shard(Struct, frozen=True):
    """One of several jobs that make a sweep together; `clusters.shard` says what its share is.

    Attributes:
        number: Which one, from 1.
        of: How many there are.
        blocks: Blocks of the whole sweep that the split is made for; blocks that are added later
            are dealt on in the same way. None where a budget decides how many there will be.
    """

    number: int
    of: int
    blocks: int | None

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of <= MOST_SHARDS:
            raise ValueError(f"there is no shard {self.number} of {self.of}")
        if self.blocks is not None and not 1 <= self.blocks <= MOST_BLOCKS:
            raise ValueError(f"a sweep of {self.blocks} blocks cannot be split")

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"


MOST_SHARDS = 10_000
MOST_BLOCKS = 10_000


_Seconds = Annotated[float, Meta(ge=0, lt=1e12)]


class Efficiency(Struct, frozen=True):
    """How much of a sweep's time was spent in warm-up or timed calls.

    Attributes:
        wall_seconds: From its start to its end, over all resumptions.
        busy_seconds: In warm-up or timed calls.
        share: Busy time over that of the devices; null where none has passed.
        device_seconds: Time of all devices, where several worked at once.
    """

    wall_seconds: _Seconds
    busy_seconds: _Seconds
    share: float | None = None
    device_seconds: _Seconds | None = None


class ModelFacts(Struct, frozen=True):
    """What a reader must know of a model of the run.

    Attributes:
        control: Whether the claim is not about it.
        cost: Its formulas, where it states them.
    """

    control: bool = False
    cost: Cost | None = None


class Node(Struct, frozen=True):
    """A machine of a cluster that took part.

    Attributes:
        node: Its id in the cluster.
        host: Name of the host.
        device_name: Name of the hardware.
        devices: How many blocks it ran at once.
        niceness: By how much its workers stand back behind other programs; null if unknown.
    """

    node: str
    host: str = ""
    device_name: str = ""
    devices: int = 1
    niceness: int | None = None


class Part(Struct, frozen=True, kw_only=True):
    """What a merged run keeps of the ``run.json`` of each job that measured some of it."""

    name: str | None = None
    shard: Shard | None = None
    started: str | None = None
    finished: str | None = None
    command: list[str] | str | None = None
    environment: Tree = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)
    calibration: Calibration | None = None
    ceilings: Ceilings | None = None
    ceilings_reason: str | None = None
    efficiency: Efficiency | None = None
    blocks: int | None = None


class RunInfo(Struct, kw_only=True):
    """What ``run.json`` says. Runs of other versions may lack some of it: that is null or empty.

    Attributes:
        version: Of the layout.
        name: Of the run.
        suite: In the layout of its file; `suite.parse_suite` reads it.
        protocol: That of the suite, once more.
        command: As it was typed.
        started: ISO time in UTC; so is ``finished``, null while something is missing.
        device: ``cpu`` or ``cuda:N``.
        seed: Seeds every random order.
        shard: The part of a run that this is.
        plugins: Plugin files.
        models: By name.
        installed_plugins: Name and version of every installed package that provides some.
        identity: By what the study is known again (`sweep.resume`).
        commit: Of the code, ``+changes`` if it had some.
        package: Version of this package.
        environment: Of the machine.
        versions: Of Python and packages.
        calibration: The last one of this device.
        ceilings: What the device does at best; null for ``ceilings_reason``.
        efficiency: Null before the first block is done.
        profile: Which cases are profiled, one of `timelines.CHOICES`.
        profiles: What became of each, by case id.
        launcher: Where it measured; ``ray_address`` and ``ray_nodes`` as they were asked for.
        machines: Nodes of the cluster.
        parts: The jobs of a merged run.
        missing: What a merged run lacks.
    """

    version: int = 1
    name: str | None = None
    suite: Tree = field(default_factory=dict)
    protocol: Tree = field(default_factory=dict)
    command: list[str] | str | None = None
    started: str | None = None
    finished: str | None = None
    device: str | None = None
    seed: int | None = None
    shard: Shard | None = None
    plugins: list[str] | None = None
    models: dict[str, ModelFacts] = field(default_factory=dict)
    installed_plugins: dict[str, str] = field(default_factory=dict)
    identity: Tree | None = None
    commit: str | None = None
    package: str | None = None
    environment: Tree = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)
    calibration: Calibration | None = None
    ceilings: Ceilings | None = None
    ceilings_reason: str | None = None
    efficiency: Efficiency | None = None
    profile: Literal["none", "ends", "all"] = ENDS  # type: ignore[assignment]
    profiles: dict[str, Profile] | None = field(default_factory=dict)
    launcher: str | None = None
    ray_address: str | None = None
    ray_nodes: str | None = None
    machines: list[Node] | None = None
    parts: list[Part] | None = None
    missing: list[str] | None = None

    @property
    def device_names(self) -> dict[str, str]:
        """Device -> name of the hardware, as far as it is known."""
        devices = self.environment.get("devices")
        return {k: str(v) for k, v in devices.items()} if isinstance(devices, dict) else {}

    def plain(self) -> Tree:
        """Return what the file holds; what only clusters have is left out elsewhere."""
        fields: Tree = wire.plain(self)
        if self.calibration:
            fields["calibration"] = self.calibration.plain()
        profiles = self.profiles or {}
        fields["profiles"] = {case_id: one.plain() for case_id, one in profiles.items()}
        if self.efficiency and self.efficiency.device_seconds is None:
            del fields["efficiency"]["device_seconds"]
        optional = ("launcher", "ray_address", "ray_nodes", "machines", "parts", "missing")
        for name in optional:
            if fields[name] is None:
                del fields[name]
        return fields


class Run(Struct, frozen=True):
    """A run as read from disk.

    Attributes:
        folder: Where it lies.
        info: What ``run.json`` says.
        records: Every whole record, in the order they were written.
        warnings: What was wrong with the files, one line each.
    """

    folder: Path
    info: RunInfo
    records: list[Record]
    warnings: list[str]


def read_run(folder: Path) -> Run:
    """Read a run folder; broken lines of the records are dropped with a warning.

    Raises:
        UsageError: ``folder`` holds no readable ``run.json``.
    """
    info, odd = read_info(folder)
    records, warnings = read_records(folder / RECORDS)
    return Run(folder, info, records, [*odd, *warnings])


def read_info(folder: Path) -> tuple[RunInfo, list[str]]:
    """Return what ``run.json`` says, and a warning for each thing in it that makes no sense.

    Raises:
        UsageError: ``folder`` holds no readable one.
    """
    path = folder / RUN
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{folder} is not a run folder: it has no {RUN}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    if not isinstance(fields, dict):
        raise UsageError(f"cannot read {path}: it holds no JSON object")
    if not isinstance(fields.get("suite") or {}, dict):  # nobody knows what was to be judged
        raise UsageError(f"cannot read {path}: the suite in it is no table")
    info, warnings = RunInfo(), []
    for one in msgspec.structs.fields(RunInfo):
        if fields.get(one.name) is not None:
            try:
                setattr(info, one.name, wire.convert(fields[one.name], one.type))
            except wire.Malformed as error:
                reason = str(error)[:_LONGEST]
                warnings.append(f"{RUN}: {one.name} makes no sense and is ignored: {reason}")
    return info, warnings


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """Return the whole records of a ``records.jsonl`` and a warning for each line dropped.

    A line without its newline is torn, whatever it holds: its writer died in the middle. A
    second record of the same case and block is dropped too: the first one stands.
    """
    pairs, warnings = read_record_lines(path)
    return [record for record, _ in pairs], warnings


def read_record_lines(path: Path) -> tuple[list[tuple[Record, bytes]], list[str]]:
    """As `read_records`, with the line that each record was read from."""
    # Nothing read here becomes garbage, and the collector would walk through it again and again.
    with nothing_collected():
        return _parse(path.name, read_lines(path))


def read_lines(path: Path) -> list[bytes]:
    """Return the non-blank lines of a file with their newlines; none if it does not exist."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in data.splitlines(keepends=True) if line.strip()]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old one or the new one, never a part.

    Raises:
        OSError: It cannot be written; what was there stands.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # where nothing can be written nothing can be removed
            draft.unlink(missing_ok=True)
        raise


def as_json(value: object) -> bytes:
    """Return plain data as a file of JSON that people can read."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode("utf-8")


def now() -> str:
    """Return the time as ISO text in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _parse(name: str, lines: Iterable[bytes]) -> tuple[list[tuple[Record, bytes]], list[str]]:
    pairs: list[tuple[Record, bytes]] = []
    warnings: list[str] = []
    seen: set[tuple[str, int]] = set()
    cases: dict[Case, Case] = {}
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            warnings.append(f"{name} line {number} dropped: torn (no newline at its end)")
            continue
        try:
            record: Record = READER.decode(line)
            record.case = cases.setdefault(record.case, record.case)  # it names itself once
            if record.key in seen:
                raise wire.Malformed(f"second record of {record.key}")
        except wire.Malformed as error:
            warnings.append(f"{name} line {number} dropped: {str(error)[:_LONGEST]}")
            continue
        seen.add(record.key)
        pairs.append((record, line))
    return pairs, warnings
