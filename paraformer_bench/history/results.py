"""asv's result files, read without asv: one series of values over commits a benchmark.

The format is that of asv 0.6 (``asv/results.py``): ``<machine>/<commit>-<environment>.json``, with
a ``machine.json`` beside it, and ``benchmarks.json`` with what each benchmark is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec

from paraformer_bench.study.errors import UsageError, unknown_name

BENCHMARKS, MACHINE = "benchmarks.json", "machine.json"
FORMAT = 2
"""Version of asv's result files and of its list of benchmarks that is understood."""

CONFIGURATIONS = ("asv.conf.json", "asv.conf.jsonc")
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')

OK, NOT_APPLICABLE, FAILED = "ok", "n/a", "failed"

TIME, RATIO, PLAIN, EXACT = "time", "ratio", "plain", "exact"
"""Kinds of values. Times, which share the speed of a machine. Other positive values, such as
memory. Values that can be zero or negative, such as exponents. Values without any scatter, such as
counts."""

SECONDS = (
    dict.fromkeys(("s", "second", "seconds"), 1.0)
    | dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3)
    | dict.fromkeys(("us", "µs", "microseconds"), 1e-6)
    | dict.fromkeys(("ns", "nanoseconds"), 1e-9)
)
"""Unit of time -> seconds."""
BYTES = {
    **dict.fromkeys(("b", "byte", "bytes"), 1.0),
    **{"kb": 1e3, "kib": 2.0**10, "mb": 1e6, "mib": 2.0**20, "gb": 1e9, "gib": 2.0**30},
}
"""Unit of size -> bytes."""
COUNTS = {
    *("calls", "count", "flop", "flops", "kernels", "launches"),
    *("operation", "operations", "ops", "parameter", "parameters"),
}
"""Units of what is counted and not measured."""


@dataclass(frozen=True)
class Measurement:
    """What one benchmark gave at one commit.

    Attributes:
        status: `OK`, `NOT_APPLICABLE` (NaN, infinity) or `FAILED` (null).
        samples: Finite samples in the order in which they were taken: block medians. Empty where
            asv was run without ``--record-samples``.
        quartiles: Of the samples; null where asv has none.
        count: How many samples there were.
    """

    status: str
    value: float = math.nan
    samples: tuple[float, ...] = ()
    quartiles: tuple[float, float] | None = None
    count: int = 0


@dataclass(frozen=True)
class Name:
    """What a series is of, in asv's names.

    Attributes:
        params: Name and value of each parameter, as asv writes them.
        fixed: Those of which the benchmark has one value only; no part of the name.
    """

    machine: str
    environment: str
    benchmark: str
    params: tuple[tuple[str, str], ...] = ()
    fixed: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def label(self) -> str:
        """Benchmark and values of its parameters, but for those that are always the same."""
        values = [value.strip("'") for name, value in self.params if name not in self.fixed]
        return f"{self.benchmark}({', '.join(values)})" if values else self.benchmark

    @property
    def device(self) -> str:
        """``cpu`` or ``gpu``: whose speed a time depends on."""
        on_gpu = any(part.startswith("Gpu") for part in self.benchmark.split("."))
        device = dict(self.params).get("device", "").strip("'")
        return "cpu" if (device or ("gpu" if on_gpu else "cpu")) == "cpu" else "gpu"

    @property
    def is_sentinel(self) -> bool:
        """Whether it is the time of something that never changes."""
        return "sentinel" in self.benchmark.lower()


@dataclass
class BenchmarkSeries:
    """One benchmark with one set of parameters over all commits.

    Attributes:
        tracked: Its samples are numbers that it returned (``track_``), not times that asv took.
        cells: Full commit hash -> what was seen there; commits without the benchmark are absent.
    """

    name: Name
    unit: str
    tracked: bool
    cells: dict[str, Measurement] = field(default_factory=dict)

    def seen_at(self, commit: str) -> Measurement | None:
        """What was measured at a commit; None if it failed or does not apply there."""
        cell = self.cells.get(commit)
        return cell if cell is not None and cell.status == OK else None

    @cached_property
    def kind(self) -> str:
        """Kind of its values: from the unit, and from whether the samples ever differ.

        Samples that are all alike at every commit are exact. Of counts one sample will do. Sizes
        are exact if there is but one, such as that of the parameters: memory in use may be the
        same in all blocks of a commit, and a page more later.
        """
        unit = first_word(self.unit)
        if unit in SECONDS:
            return TIME
        cells = [cell for cell in self.cells.values() if cell.status == OK]
        if unit in BYTES:
            exact = all(cell.count == 1 for cell in cells)
        else:
            fewest = 1 if unit in COUNTS else 2
            exact = all(
                cell.count >= fewest
                and len(set(cell.samples)) <= 1
                and (cell.quartiles is None or cell.quartiles[0] == cell.quartiles[1])
                for cell in cells
            )
        if exact:
            return EXACT
        values = (value for cell in cells for value in (cell.value, *cell.samples))
        return RATIO if all(value > 0 for value in values) else PLAIN


@dataclass
class Results:
    """All that a folder of results holds.

    Attributes:
        dates: Full commit hash -> seconds since 1970, as the result files say.
        measured: Machine and environment -> commits with a result file.
        warnings: A line for each file or part of a file that could not be read.
    """

    by_name: dict[Name, BenchmarkSeries] = field(default_factory=dict)
    dates: dict[str, float] = field(default_factory=dict)
    measured: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def series(self) -> list[BenchmarkSeries]:
        """In the order of machine, environment, benchmark and parameters, numbers as such."""

        def order(name: Name) -> tuple[Any, ...]:
            values = (value for _, value in name.params)
            numbers = [(not v.isdecimal(), int(v) if v.isdecimal() else 0, v) for v in values]
            return name.machine, name.environment, name.benchmark, numbers

        return [self.by_name[name] for name in sorted(self.by_name, key=order)]


class _Configuration(msgspec.Struct):
    """What asv's configuration says of places; ``repo`` can be a URL."""

    results_dir: str = "results"
    repo: str = "."


class _Benchmark(msgspec.Struct):
    """What asv's list says of one benchmark."""

    unit: str | None = None
    type: str | None = None
    version: str | None = None
    param_names: list[str] = []


class _ResultFile(msgspec.Struct):
    """What asv saw at one commit; each result is a list of what ``result_columns`` names."""

    commit_hash: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z]{7,}$")]
    result_columns: list[str]
    results: dict[str, Any]
    env_name: str | None = None
    date: float | None = None


_Column: TypeAlias = list[float | None] | None


class _Result(msgspec.Struct):
    """What one benchmark gave: of each combination of parameters. Nulls alone make a null."""

    result: _Column = None
    params: list[list[str]] = []
    version: str | None = None
    samples: list[list[float] | None] | None = None
    stats_q_25: _Column = None
    stats_q_75: _Column = None
    stats_repeat: list[int | None] | None = None


def first_word(unit: str) -> str:
    """Return the unit without what it is per: ``seconds`` of ``seconds per image``."""
    words = unit.lower().replace("/", " ").split()
    return words[0] if words else ""


def find_results(results: Path | None, folder: Path) -> tuple[Path, Path]:
    """Return asv's folder of results, and one in the repository whose commits were measured.

    Without a folder of results, asv's configuration in ``folder`` names it.

    Raises:
        UsageError: There is no configuration, or it cannot be read.
    """
    if results is not None:
        return results, folder
    path = next((folder / name for name in CONFIGURATIONS if (folder / name).is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no {CONFIGURATIONS[0]} here: name the folder of results with --results"
        )
    try:
        text = path.read_text(encoding="utf-8")
        plain = _LAST_COMMA.sub(r"\1", _COMMENT.sub(r"\1", text))
        told = msgspec.json.decode(plain, type=_Configuration)
    except (OSError, ValueError, RecursionError):
        raise UsageError(f"cannot read {path.name}: name the results with --results") from None
    repository = folder / told.repo
    return folder / told.results_dir, repository if repository.is_dir() else folder


def read_results(folder: Path, machine: str | None = None) -> Results:
    """Read asv's ``results_dir``, of one machine alone if it is named.

    Raises:
        UsageError: There is no such folder or machine, or no result that can be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of asv's results: run `asv run` first")
    machines = sorted(path.parent.name for path in folder.glob(f"*/{MACHINE}"))
    if machine is not None and machine not in machines:
        raise unknown_name("machine", machine, machines)
    results = Results()
    benchmarks = _listed(folder / BENCHMARKS, results.warnings)
    for each in [machine] if machine is not None else machines:
        for path in sorted((folder / each).glob("*.json")):
            if path.name != MACHINE:
                _read_file(path, each, benchmarks, results)
    if not results.measured:
        broken = f" ({results.warnings[0]})" if results.warnings else ""
        raise UsageError(f"{folder} holds no result of asv that can be read{broken}")
    return results


def _listed(path: Path, warnings: list[str]) -> dict[str, _Benchmark] | None:
    """What asv knows of each benchmark; None where its list cannot be read."""
    try:
        entries = {name: entry for name, entry in _load(path).items() if isinstance(entry, dict)}
        return msgspec.convert(entries, dict[str, _Benchmark])
    except ValueError as error:
        warnings.append(f"{path}: {error}; units and versions of benchmarks are not known")
        return None


def _load(path: Path) -> dict[str, Any]:
    """Read one of asv's files, which hold NaN and infinity too; a ValueError says why not."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from None
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(content, dict):
        raise ValueError("is not what asv writes")
    if content.get("version") != FORMAT:
        raise ValueError(f"has format {content.get('version')!r}, only {FORMAT} is understood")
    return content


def _read_file(
    path: Path, machine: str, benchmarks: Mapping[str, _Benchmark] | None, results: Results
) -> None:
    try:
        file = msgspec.convert(_load(path), _ResultFile)
    except (ValueError, OverflowError) as error:
        results.warnings.append(f"{path}: {error}")
        return
    commit, environment = file.commit_hash, file.env_name or ""
    results.measured.setdefault((machine, environment), set()).add(commit)
    if file.date is not None and math.isfinite(file.date):
        results.dates[commit] = file.date / 1e3  # asv counts milliseconds
    for name, row in file.results.items():
        listed = _Benchmark() if benchmarks is None else benchmarks.get(name)
        if listed is None:
            continue  # a benchmark that is no more
        try:
            if not isinstance(row, list):
                raise ValueError("is not what asv writes")
            columns = zip(file.result_columns, row, strict=False)
            result = msgspec.convert({k: v for k, v in columns if v is not None}, _Result)
            if None not in (result.version, listed.version) and result.version != listed.version:
                continue  # what it measured then is not what it measures now
            for params, fixed, cell in _cells(result, listed.param_names):
                key = Name(machine, environment, name, params, fixed)
                series = BenchmarkSeries(key, listed.unit or "", listed.type == "track")
                results.by_name.setdefault(key, series).cells[commit] = cell
        except (ValueError, OverflowError) as error:
            results.warnings.append(f"{path}: {name} {error}")


def _cells(
    result: _Result, names: list[str]
) -> Iterator[tuple[tuple[tuple[str, str], ...], frozenset[str], Measurement]]:
    """Yield each set of parameters, those of one value only, and what was measured with it."""
    axes = result.params
    if len(names) != len(axes):
        names = [f"param{k + 1}" for k in range(len(axes))]
    combinations = list(product(*axes))
    fixed = frozenset(name for name, axis in zip(names, axes, strict=True) if len(axis) == 1)
    nulls: list[Any] = [None] * len(combinations)
    try:
        rows = list(
            zip(
                combinations,
                result.result or nulls,
                result.samples or nulls,
                result.stats_q_25 or nulls,
                result.stats_q_75 or nulls,
                result.stats_repeat or nulls,
                strict=True,
            )
        )
    except ValueError:
        raise ValueError(f"has not one value for each of {len(combinations)} parameters") from None
    for values, value, samples, q25, q75, count in rows:
        if value is None or not math.isfinite(value):
            cell = Measurement(FAILED if value is None else NOT_APPLICABLE)
        else:
            finite = tuple(sample for sample in samples or () if math.isfinite(sample))
            quartiles = None if q25 is None or q75 is None else (q25, q75)
            cell = Measurement(OK, value, finite, quartiles, len(finite) or max(count or 1, 1))
        yield tuple(zip(names, values, strict=True)), fixed, cell
