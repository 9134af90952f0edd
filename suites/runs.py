"""One sweep of the commit under test, and how the benchmarks beside this file read it.

Today's suites are run against the packages of old commits, so nothing is imported from the
package. What is relied on is its command line, its suite file and the files of a run folder.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from statistics import linear_regression, median
from typing import Any, NoReturn

from asv_runner.benchmarks.mark import SkipNotImplemented

from .rounds import split, steady

BLOCKS = 8
"""Samples a benchmark gets. With 6 against 6 asv's Mann-Whitney test, which asks for p < 0.002,
can never say that two commits differ; a 99% interval of a median without assumptions needs 8."""

ROUNDS = 8
"""Of a block. What disturbs a machine lasts about as long as a block: the more often it goes
through its cases, the more alike all are disturbed. See `rounds`."""

THREADS = "1"
"""Of PyTorch on the CPU. Where a neighbour takes a core, the threads of a pool wait for each other
and a call takes many times as long; a single thread waits for nobody."""

CPU, GPU = "cpu", "cuda:0"
DEPTHS = (1, 4, 8)
BATCH = 4
"""Images at once where the time per image is tracked."""
SHALLOW = 2
"""Depth of the nets that are trained, and of those that see a batch."""

NAMES = ("model", "execution", "runtime", "depth", "width", "batch", "dtype", "device")
"""Parameters of a benchmark. Those of a curve are the same without the depth."""

Case = tuple[Any, ...]
"""Values of `NAMES`."""
Cache = dict[str, Any]
Value = float | dict[str, Any]

_PROTOCOL = f"""\
name = "asv"

[protocol]
blocks = {BLOCKS}
rounds = {ROUNDS}
seconds_per_case = 0.1
target_relative_error = 0.01
timeout_seconds = 120
"""

_GRIDS = {
    "inference": (DEPTHS, 1, "inference"),
    "batch": ((SHALLOW,), BATCH, "inference"),
    "train": ((SHALLOW,), 1, "train"),
}
"""Depths, batch and mode of each part of the sweep."""

_REFUSED = 2
"""Exit code of a command that does not know, or cannot do, what it is asked for."""
_TRACKED = ("peak_bytes", "parameter_bytes", "flops", "operations")


class OnCpu:
    """Base of the benchmarks that read the sweep on the CPU."""

    def setup_cache(self) -> Cache:
        return measure(CPU, ["eager"])

    setup_cache.timeout = 1800  # a minute on an idle machine


class OnGpu:
    """Base of the benchmarks that read the sweep on GPU 0."""

    def setup_cache(self) -> Cache:
        return measure(GPU, ["graph"])

    setup_cache.timeout = 1800


def grid(
    device: str, runtimes: Iterable[str], depths: Iterable[int] | None, batch: int = 1
) -> list[Any]:
    """Return the values of the parameters `NAMES`; those of a curve have no depths."""
    values = [["serial", "paraformer"], ["loop", "stacked"], list(runtimes)]
    if depths is not None:
        values.append(list(depths))
    return [*values, [192], [batch], ["float32"], [device]]


def measure(device: str, runtimes: Iterable[str]) -> Cache:
    """Sweep the small grid on ``device`` with the installed commit, and reduce the run.

    Where a commit refuses (there is no such device, or it is older than the command) the result
    is the line that it said.

    Raises:
        RuntimeError: The sweep ended in any other way that leaves no run.
    """
    folder = Path(f"run-{device.replace(':', '')}").resolve()
    suite = folder.with_suffix(".toml")
    parts = list(_GRIDS)
    options = ["--profile", "none"]
    declined: dict[str, str] = {}
    while True:
        suite.write_text(suite_text(parts, runtimes), encoding="utf-8")
        request = ["--suite", str(suite), "--device", device, "--out", str(folder), *options]
        code, said = _command("sweep", *request)
        if code == _REFUSED and "--profile" in said and options:
            options = []  # a commit from before there were timelines
        elif code == _REFUSED and "train" in said and "train" in parts:
            parts.remove("train")  # a commit from before training
            declined["train"] = said
        else:
            break
    if code == _REFUSED:
        return {"refused": said}
    if code not in (0, 3):
        raise RuntimeError(f"sweep ended with exit code {code}: {said}")
    return reduce(folder) | {"declined": declined}


def suite_text(parts: Iterable[str], runtimes: Iterable[str]) -> str:
    """Return the suite file with these parts of the sweep."""
    text = _PROTOCOL
    for part in parts:
        depths, batch, mode = _GRIDS[part]
        text += f"""
[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
runtimes = {json.dumps(list(runtimes))}
depth = {json.dumps(depths)}
width = 192
batch = {batch}
mode = "{mode}"
"""
    return text


def reduce(folder: Path) -> Cache:
    """Return what is tracked of a run.

    ``cases`` has, by case and mode, an entry a block in the order of the blocks: what became of
    it, its times in seconds (on the wall clock `rounds.steady`, of a device the median), its
    counts. ``curves`` has, by its shallowest case, to which depth a curve of wall times is
    constant. ``refused`` and ``declined`` (by mode) are what the commit said to what it would not
    do; here, nothing.
    """
    cases: dict[tuple[Case, str], list[dict[str, Any]]] = {}
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    for record in sorted(map(json.loads, lines), key=lambda record: record["block"]):
        case = record["case"]
        entry = {name: record.get(name) for name in ("status", "reason", "block", *_TRACKED)}
        entry["rounds"] = split(record["wall_seconds"], record.get("rounds") or [])
        entry["device"] = _median(record["device_seconds"])
        entry["sentinel"] = _median(record.get("telemetry", {}).get("sentinel_seconds"))
        cases.setdefault((_case(case), case["mode"]), []).append(entry)
    _put_wall_times(cases)
    verdicts = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
    curves = {
        _case(verdict | {"depth": DEPTHS[0]}): verdict["constant_up_to"]
        for verdict in verdicts
        if verdict["basis"] == "wall" and verdict["mode"] == "inference"
    }
    return {
        "refused": None,
        "declined": {},
        "cases": cases,
        "curves": curves,
        "folder": str(folder),
    }


def _put_wall_times(cases: Mapping[tuple[Case, str], list[dict[str, Any]]]) -> None:
    """Give every entry ``wall``, the time of its block."""
    groups: dict[tuple[int, str], dict[Hashable, dict[int, list[float]]]] = {}
    for (case, mode), entries in cases.items():
        timed = {entry["block"]: entry.pop("rounds") for entry in entries}
        group = groups.setdefault((case[NAMES.index("batch")], mode), {})
        group[case, mode] = {block: times for block, times in timed.items() if times}
    for group in groups.values():
        measured = {case: blocks for case, blocks in group.items() if blocks}
        steadied = steady(measured)
        for case in group:
            for entry in cases[case]:
                entry["wall"] = steadied.get(case, {}).get(entry["block"])


def samples(cache: Cache, field: str, mode: str, case: Case, share: int = 1) -> Value:
    """Return the blocks' values of one field, each divided by ``share``, as asv's samples."""
    values = [entry[field] for entry in _entries(cache, mode, case) if entry[field] is not None]
    if not values:
        not_available(f"this commit does not record {field}")
    return as_samples(value / share for value in values)


def exact(cache: Cache, field: str, mode: str, case: Case) -> Value:
    """Return a count that is the same in all blocks.

    Raises:
        RuntimeError: It is not.
    """
    values = {entry[field] for entry in _entries(cache, mode, case)}
    if values == {None}:
        not_available(f"this commit does not record {field}")
    if len(values) > 1:
        raise RuntimeError(f"{field} is not the same in all blocks: {sorted(values, key=str)}")
    return values.pop()


def exponent(cache: Cache, curve: Case) -> Value:
    """Return, for each block, the slope of the logarithm of time over that of depth."""
    by_block: dict[int, list[tuple[float, float]]] = {}
    for depth in DEPTHS:
        for entry in _entries(cache, "inference", _at(depth, curve)):
            point = (math.log(depth), math.log(entry["wall"]))
            by_block.setdefault(entry["block"], []).append(point)
    whole = [points for points in by_block.values() if len(points) == len(DEPTHS)]
    return as_samples(linear_regression(*zip(*points, strict=True)).slope for points in whole)


def inverse_of_constant_up_to(cache: Cache, curve: Case) -> Value:
    """Return 1 over the deepest depth to which the curve is constant: smaller is better."""
    shallowest = _at(DEPTHS[0], curve)
    _entries(cache, "inference", shallowest)  # says so where it was not measured
    return 1 / cache["curves"][shallowest]


def sentinel(cache: Cache) -> Value:
    """Return the time of the net that never changes, a sample a block."""
    if cache["refused"]:
        not_available(cache["refused"])
    by_block: dict[int, list[float]] = {}
    for entries in cache["cases"].values():
        for entry in entries:
            if entry["sentinel"] is not None:
                by_block.setdefault(entry["block"], []).append(entry["sentinel"])
    if not by_block:
        not_available("this commit has no sentinel")
    return as_samples(median(by_block[block]) for block in sorted(by_block))


def as_samples(values: Iterable[float]) -> Value:
    """Return values as asv takes them from a timing: it works out median and interval."""
    return {"samples": list(values), "number": 1}


def not_available(reason: str) -> NoReturn:
    """Have asv note ``n/a``; ``asv run --show-stderr`` shows the reason."""
    print(reason)
    raise SkipNotImplemented(reason)


def _entries(cache: Cache, mode: str, case: Case) -> list[dict[str, Any]]:
    """Return what the blocks have of a case that was measured.

    Raises:
        SkipNotImplemented: It was not to be measured; asv shows ``n/a``.
        RuntimeError: It failed in every block; asv shows ``failed``.
    """
    if cache["refused"]:
        not_available(cache["refused"])
    entries = cache["cases"].get((case, mode))
    if entries is None:
        nothing = "not in the sweep: a serial net has no branches to stack"
        not_available(cache["declined"].get(mode, nothing))
    measured = [entry for entry in entries if entry["status"] == "ok"]
    if not measured:
        status, reason = entries[0]["status"], entries[0]["reason"]
        if status == "skipped":
            not_available(reason)
        raise RuntimeError(f"{status}: {reason}")
    return measured


def _case(fields: dict[str, Any]) -> Case:
    return tuple(fields[name] for name in NAMES)


def _at(depth: int, curve: Case) -> Case:
    """Return the case of a curve at one depth."""
    place = NAMES.index("depth")
    return (*curve[:place], depth, *curve[place:])


def _median(seconds: list[float] | None) -> float | None:
    return median(seconds) if seconds else None


def _command(*arguments: str) -> tuple[int, str]:
    """Run a command of the installed commit; return its exit code and its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "paraformer_bench", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": THREADS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else "it said nothing"
