"""How long does a run page take to build, and how large is it?

Run as ``python -m benchmarks.report_page [--keep FOLDER]``; it takes two or three minutes. The
runs are made up: six methods at seven depths in 8 blocks, with operations, ceilings, energy and
device times, so that every section of the page but the timelines is there; as many regimes as make
the number of cases. Targets: 500 cases in 15 s and 2 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

from paraformer_bench.report.build import build_report
from paraformer_bench.study import wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.ceilings import Ceilings, Copy, Product
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, RUN

CASES = (504, 1_008, 10_080)
MOST_SECONDS, MOST_BYTES = 15.0, 2_000_000
BLOCKS = 8
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
METHODS = (
    ("serial", "loop"),
    *(("paraformer", e) for e in ("loop", "stacked", "streams", "vmap")),
)
METHODS = (*METHODS, ("paraformer_code", "loop"))

CEILINGS = Ceilings(
    date="2026-01-02T03:04:05+00:00",
    host="nowhere",
    device="cuda:0",
    device_name="a GPU that nobody has measured",
    torch="0",
    package="0",
    copies=(Copy(10**6, 4e12), Copy(10**9, 3e12)),
    products=tuple(
        Product(dtype, flops, seconds)
        for dtype in ("float32", "bfloat16")
        for flops, seconds in ((10**7, 5e-6), (10**11, 5e-4))
    ),
    launch_seconds=4e-6,
    node_seconds=1.5e-6,
    sync_seconds=1e-5,
)


def regimes() -> Iterator[dict[str, object]]:
    """Conditions, as many as one likes."""
    axes = ("float32", "bfloat16"), range(64, 64 * 21, 64), (2**k for k in range(0, 12, 2))
    for dtype, width, batch in product(*axes):
        yield {"batch": batch, "width": width, "heads": width // 64, "dtype": dtype}


def records(cases: int) -> Iterator[Record]:
    """Every case in every block, with noise."""
    noise = random.Random(0)
    for conditions in islice(regimes(), cases // (len(METHODS) * len(DEPTHS))):
        for (model, execution), depth in product(METHODS, DEPTHS):
            case = Case.of(
                model=model,
                execution=execution,
                runtime="eager",
                depth=depth,
                image=224,
                patch=16,
                branch_depth=1,
                device="cuda:0",
                **conditions,
            )
            loops = depth if execution == "loop" else 1
            seconds = 1e-4 * loops + 1e-6 * depth * case.batch
            for block in range(BLOCKS):
                times = [seconds * noise.lognormvariate(0, 0.02) for _ in range(20)]
                yield Record(
                    case=case,
                    block=block,
                    order=0,
                    status="ok",
                    wall_seconds=[1.1 * t for t in times],
                    device_seconds=times,
                    rounds=[20],
                    peak_bytes=2**20 * (10 + depth + case.batch),
                    reserved_bytes=2**27,
                    parameter_bytes=4 * 12 * depth * case.spec.width**2,
                    flops=10**9 * depth * case.batch,
                    operations=12 * loops,
                    work=[
                        ("addmm", 4 * loops, 5 * 10**7 * depth * case.batch // loops, 10**6),
                        ("add", 20 * loops, 0, 10**5),
                    ],
                    energy_joules=300 * seconds,
                )


def write(folder: Path, cases: int) -> None:
    """Write a run folder."""
    info = {
        "name": f"{cases} cases",
        "suite": {"name": "made up", "protocol": {"blocks": BLOCKS}, "grid": []},
        "finished": "2026-01-02T03:04:05+00:00",
        "device": "cuda:0",
        "ceilings": wire.plain(CEILINGS),
        "environment": {"devices": {"cuda:0": CEILINGS.device_name}},
    }
    folder.mkdir(parents=True)
    (folder / RUN).write_text(json.dumps(info), "utf-8")
    with (folder / RECORDS).open("wb") as file:
        file.writelines(record.line() for record in records(cases))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="Folder for the runs; otherwise they are lost.")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}")
    good = True
    with tempfile.TemporaryDirectory() as lost:
        for cases in CASES:
            folder = (options.keep or Path(lost)) / f"cases-{cases}"
            if folder.exists():
                raise SystemExit(f"{folder} exists: give a new folder")
            write(folder, cases)
            started = time.perf_counter()
            size = build_report(folder).stat().st_size
            seconds = time.perf_counter() - started
            print(f"{cases:,} cases: {seconds:.1f} s, {size / 1e6:.2f} MB", flush=True)
            if cases == CASES[0]:
                good = seconds < MOST_SECONDS and size < MOST_BYTES
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
