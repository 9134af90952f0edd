"""asv's result files, read without asv: one series of values over commits a benchmark.

The format is that of asv 0.6 (``asv/results.py``): ``<machine>/<commit>-<environment>.json``, with
a ``machine.json`` beside it, and ``benchmarks.json`` with what each benchmark is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from paraformer_bench.study.errors import UsageError, unknown_name

BENCHMARKS, MACHINE = "benchmarks.json", "machine.json"
FORMAT = 2
"""Version of asv's result files and of its list of benchmarks that is understood."""

OK, NOT_APPLICABLE, FAILED = "ok", "n/a", "failed"


@dataclass(frozen=True)
class Cell:
    """What one benchmark gave at one commit.

    Attributes:
        status: `OK`, `NOT_APPLICABLE` (NaN, infinity) or `FAILED` (null).
        value: asv's result; NaN if there is none.
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
    """What a series is of.

    Attributes:
        machine: Name of the machine in asv.
        environment: Name of the environment in asv.
        benchmark: Name of the benchmark in asv.
        params: Its parameters, as asv writes them: name -> value.
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


@dataclass
class Series:
    """One benchmark with one set of parameters over all commits.

    Attributes:
        name: What it is of.
        unit: Of its values, as the benchmark states it.
        tracked: Its samples are numbers that it returned (``track_``), not times that asv took.
        cells: Full commit hash -> what was seen there; commits without the benchmark are absent.
    """

    name: Name
    unit: str
    tracked: bool = True
    cells: dict[str, Cell] = field(default_factory=dict)


@dataclass
class Results:
    """All that a folder of results holds.

    Attributes:
        series: In the order of machine, environment, benchmark and parameters.
        dates: Full commit hash -> seconds since 1970, as the result files say.
        measured: Machine and environment -> commits with a result file.
        warnings: A line for each file or part of a file that could not be read.
    """

    series: list[Series] = field(default_factory=list)
    dates: dict[str, float] = field(default_factory=dict)
    measured: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def read_results(folder: Path, machine: str | None = None) -> Results:
    """Read a folder of asv's results.

    Args:
        folder: asv's ``results_dir``.
        machine: Read this machine alone.

    Raises:
        UsageError: There is no such folder or machine, or no result that can be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder of asv's results: run `asv run` first")
    machines = sorted(path.parent.name for path in folder.glob(f"*/{MACHINE}"))
    if machine is not None and machine not in machines:
        raise unknown_name("machine", machine, machines)
    results = Results()
    known = _known_benchmarks(folder / BENCHMARKS, results.warnings)
    found: dict[Name, Series] = {}
    for each in [machine] if machine is not None else machines:
        for path in sorted((folder / each).glob("*.json")):
            if path.name != MACHINE:
                _read_file(path, each, known, results, found)
    if not results.measured:
        broken = f" ({results.warnings[0]})" if results.warnings else ""
        raise UsageError(f"{folder} holds no result of asv that can be read{broken}")
    results.series = [found[name] for name in sorted(found, key=_order)]
    return results


def _order(name: Name) -> tuple[Any, ...]:
    values = tuple((not v.isdecimal(), int(v) if v.isdecimal() else 0, v) for _, v in name.params)
    return (name.machine, name.environment, name.benchmark, values)


def _known_benchmarks(path: Path, warnings: list[str]) -> dict[str, Mapping[str, Any]] | None:
    """What asv knows of each benchmark; None where its list cannot be read."""
    try:
        content = _load(path)
    except ValueError as error:
        warnings.append(f"{path}: {error}; units and versions of benchmarks are not known")
        return None
    return {name: entry for name, entry in content.items() if isinstance(entry, dict)}


def _load(path: Path) -> dict[str, Any]:
    """Read one of asv's files.

    Raises:
        ValueError: It cannot be read; the message says why.
    """
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
    path: Path,
    machine: str,
    known: Mapping[str, Mapping[str, Any]] | None,
    results: Results,
    found: dict[Name, Series],
) -> None:
    try:
        content = _load(path)
        commit, columns, rows = (
            content.get(key) for key in ("commit_hash", "result_columns", "results")
        )
        if not (isinstance(commit, str) and len(commit) >= 7 and commit.isalnum()):
            raise ValueError("names no commit")
        if not isinstance(columns, list) or not isinstance(rows, dict):
            raise ValueError("holds no results")
        environment = str(content.get("env_name") or "")
    except ValueError as error:
        results.warnings.append(f"{path}: {error}")
        return
    results.measured.setdefault((machine, environment), set()).add(commit)
    date = content.get("date")
    if isinstance(date, (int, float)) and math.isfinite(date):
        results.dates[commit] = date / 1e3  # asv counts milliseconds
    for benchmark, row in rows.items():
        entry: Mapping[str, Any] = {}
        if known is not None:
            if benchmark not in known:
                continue  # a benchmark that is no more
            entry = known[benchmark]
        try:
            if not isinstance(row, list):
                raise ValueError("is not what asv writes")
            values = dict(zip(map(str, columns), row, strict=False))
            version = values.get("version")
            if version is not None and entry.get("version", version) != version:
                continue  # what it measured then is not what it measures now
            for params, fixed, cell in _cells(values, entry):
                name = Name(machine, environment, benchmark, params, fixed)
                series = Series(name, str(entry.get("unit") or ""), entry.get("type") == "track")
                found.setdefault(name, series).cells[commit] = cell
        except (ValueError, TypeError, OverflowError) as error:
            results.warnings.append(f"{path}: {benchmark} {error}")


def _cells(
    values: Mapping[str, Any], entry: Mapping[str, Any]
) -> Iterator[tuple[tuple[tuple[str, str], ...], frozenset[str], Cell]]:
    """Yield each set of parameters, those of one value only, and its cell.

    Raises:
        ValueError: The row contradicts itself.
    """
    axes = values.get("params") or []
    if not isinstance(axes, list) or not all(isinstance(axis, list) for axis in axes):
        raise ValueError("has parameters that are no lists")
    names = entry.get("param_names")
    names = names if isinstance(names, list) and len(names) == len(axes) else []
    names = [str(name) for name in names] or [f"param{k + 1}" for k in range(len(axes))]
    combinations = list(product(*(map(str, axis) for axis in axes)))
    fixed = frozenset(name for name, axis in zip(names, axes, strict=True) if len(axis) == 1)
    columns: dict[str, list[Any]] = {}
    for key in ("result", "samples", "stats_q_25", "stats_q_75", "stats_repeat"):
        column = values.get(key)
        if column is None:  # asv writes null for a list of nulls
            column = [None] * len(combinations)
        if not isinstance(column, list) or len(column) != len(combinations):
            raise ValueError(f"has not one {key} for each of {len(combinations)} parameters")
        columns[key] = column
    for k, combination in enumerate(combinations):
        params = tuple(zip(names, combination, strict=True))
        yield params, fixed, _cell(*(columns[key][k] for key in columns))


def _cell(result: object, samples: object, q25: object, q75: object, count: object) -> Cell:
    if result is None:
        return Cell(FAILED)
    value = _number(result)
    if not math.isfinite(value):
        return Cell(NOT_APPLICABLE)
    if samples is not None and not isinstance(samples, list):
        raise ValueError("has samples that are no list")
    numbers = [_number(sample) for sample in samples or ()]
    finite = tuple(number for number in numbers if math.isfinite(number))
    quartiles = None
    if q25 is not None and q75 is not None:
        quartiles = (_number(q25), _number(q75))
    seen = count if isinstance(count, int) and not isinstance(count, bool) else 1
    return Cell(OK, value, finite, quartiles, len(finite) or max(seen, 1))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"holds {str(value)[:40]!r}, which is no number")
    return float(value)
