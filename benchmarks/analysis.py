"""How long does it take to judge a very large run, without torch?

Run as ``python -m benchmarks.analysis``; it takes about half a minute. A run of 100,000 records,
wall and device times, is written to a temporary folder and judged in a process in which torch
cannot be imported. Printed are the seconds of each step; reading, judging and the tables together
should take less than ten. With ``--page`` the report is built too.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from paraformer_bench.study import child
from paraformer_bench.study.case import Case
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, RUN

RECORD_COUNT = 100_000
SAMPLES = 20
WORK = [("addmm", 4 * k, 10**8 * k, 10**6 * k) for k in range(1, 17)]

SCRIPT = """
import sys, time

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is not here")

sys.meta_path.insert(0, NoTorch())
from pathlib import Path
from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.tables import block_table, case_table
from paraformer_bench.report.build import build_report
from paraformer_bench.study.run_folder import read_run

folder = Path(sys.argv[1])
steps = {}

def timed(what, function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    steps[what] = time.perf_counter() - start
    return result

run = timed("read", read_run, folder)
verdicts = timed("judge", verdict_file, run)
timed("block table", block_table, run.records)
cases = timed("case table", case_table, run.records)
print(f"{len(run.records):,} records, {len(cases):,} cases, {len(verdicts):,} verdicts")
for what, seconds in steps.items():
    print(f"{what}: {seconds:.2f} s")
print(f"together: {sum(steps.values()):.2f} s")
if "--page" in sys.argv:
    timed("page", build_report, folder)
    print(f"page, judging again included: {steps['page']:.2f} s")
assert "torch" not in sys.modules
"""


def records(count: int) -> Iterator[Record]:
    """Records of many curves of seven depths, 20 blocks each."""
    rng = random.Random(1)
    first = Case.of(
        model="paraformer",
        execution="stacked",
        runtime="eager",
        depth=1,
        width=192,
        batch=1,
        image=224,
        patch=16,
        heads=3,
        branch_depth=1,
        dtype="float32",
        device="cuda:0",
    )
    made = 0
    for batch in range(1, count):
        for model, execution in (("serial", "loop"), ("paraformer", "stacked")):
            for depth in (1, 2, 4, 8, 16, 32, 64):
                case = first.replace(model=model, execution=execution, depth=depth, batch=batch)
                for block in range(20):
                    times = [1e-3 * depth * rng.gauss(1, 0.02) for _ in range(SAMPLES)]
                    yield Record(
                        case=case,
                        block=block,
                        order=depth,
                        status="ok",
                        wall_seconds=times,
                        device_seconds=times,
                        rounds=[10, 10],
                        parameter_bytes=10**6 * depth,
                        work=WORK,
                        flags=["drift"] if block == 3 else [],
                    )
                    made += 1
                    if made == count:
                        return


def write(folder: Path, count: int) -> None:
    """Write a run folder of ``count`` records."""
    info = {"name": "large", "suite": {"claim": {"margin": 0.1, "confidence": 0.95}}}
    (folder / RUN).write_text(json.dumps(info), encoding="utf-8")
    with (folder / RECORDS).open("wb") as file:
        file.writelines(record.line() for record in records(count))


def main() -> int:
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), RECORD_COUNT)
        command = [sys.executable, "-c", SCRIPT, place, *sys.argv[1:]]
        return subprocess.run(command, env=child.environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
