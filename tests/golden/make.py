"""Write down what a checkout of this project makes of the runs in ``reports/``.

Run as ``python -m tests.golden.make CHECKOUT [FOLDER]``. The files in this folder were made from
commit b2ccecc, the last one before the package was put into rooms. Two folders made on one machine
are equal byte for byte (``diff -r``) where two commits do exactly the same; the test allows for
what differs from machine to machine.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tests.golden.page import sections_of

# The package is imported on demand: `main` says first from where.

HERE = Path(__file__).parent
RUN_FOLDERS = HERE.parents[1] / "reports"
RUNS = ("controls-cpu", "devices-cpu", "example-cpu", "sizes-cpu", "standard-cpu")
SMALL = ("devices-cpu", "example-cpu")
COMPARED = ("sizes-cpu", "standard-cpu")
JUDGED = ("verdicts.json", "predictions.json", "timelines.json")
TABLES = (
    *("cases", "blocks", "samples", "verdicts", "ratios", "speedups", "predictions", "timelines"),
)


def report_of(run: str) -> dict[str, Any]:
    """Judge a copy of a run and return what was written: files, the page, the list of runs."""
    with _elsewhere() as place:
        copy = place / "reports" / run
        shutil.copytree(RUN_FOLDERS / run, copy)
        for name in (*JUDGED, "index.html"):
            (copy / name).unlink(missing_ok=True)
        _command("report")
        made: dict[str, Any] = {
            name: json.loads((copy / name).read_text("utf-8"))
            for name in JUDGED
            if (copy / name).exists()
        }
        pages = {"page": copy / "index.html", "list of runs": copy.parent / "index.html"}
        return made | {k: sections_of(path.read_text("utf-8")) for k, path in pages.items()}


def markdown() -> list[str]:
    """Return the lines of ``report --format md`` about the small runs."""
    with _elsewhere():
        result = _command("report", "--format", "md", *(RUN_FOLDERS / run for run in SMALL))
    return result.stdout.splitlines()


def tables() -> dict[str, Any]:
    """Return the tables of the small runs, loaded: of each its rows in number and its columns.

    Of a column of numbers: how many are known, their sum, and their sum weighted by their place
    from 1; of any other a digest.
    """
    from paraformer_bench import load_run

    loaded = {run: load_run(RUN_FOLDERS / run) for run in SMALL}
    return {
        run: {name: _columns(getattr(held, name)) for name in TABLES}
        for run, held in loaded.items()
    }


def comparison() -> dict[str, Any]:
    """Return the exit code and the lines of ``compare``, but that which names the page."""
    with _elsewhere() as place:
        folders = (RUN_FOLDERS / run for run in COMPARED)
        result = _command("compare", *folders, "--out", place / "page.html")
        assert (place / "page.html").exists()
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    return {
        "code": int(result.return_value or 0),
        "lines": [line for line in lines if not line.startswith("page: ")],
    }


OTHERS = {"markdown": markdown, "tables": tables, "comparison": comparison}


def stored(name: str) -> Any:
    """Return what was written down under a name."""
    return json.loads(gzip.decompress((HERE / f"{name}.json.gz").read_bytes()))


@contextmanager
def _elsewhere() -> Iterator[Path]:
    """Work in a new folder, which goes at the end."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        try:
            yield Path(place)
        finally:
            os.chdir(before)


def _command(*arguments: object) -> Result:
    from paraformer_bench.cli import cli

    return CliRunner().invoke(
        cli, list(map(str, arguments)), standalone_mode=False, catch_exceptions=False
    )


def _columns(table: Any) -> list[Any]:
    return [len(table), {str(name): _sums(table[name].tolist()) for name in table}]


def _sums(cells: list[Any]) -> Any:
    cells = [None if isinstance(cell, Real) and math.isnan(cell) else cell for cell in cells]
    if all(cell is None or isinstance(cell, Real) for cell in cells):
        numbers = [(place, float(cell)) for place, cell in enumerate(cells, 1) if cell is not None]
        total = math.fsum(number for _, number in numbers)
        weighted = math.fsum(place * number for place, number in numbers)
        return [len(numbers), total, weighted]
    text = json.dumps(cells, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    options = parser.parse_args()
    sys.path.insert(0, str(options.checkout.resolve()))
    import paraformer_bench

    print(f"made by {Path(paraformer_bench.__file__).parent}")
    options.folder.mkdir(parents=True, exist_ok=True)
    made = {run: report_of(run) for run in RUNS}
    made |= {name: make() for name, make in OTHERS.items()}
    for name, value in made.items():
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        data = gzip.compress(text.encode(), mtime=0)
        (options.folder / f"{name}.json.gz").write_bytes(data)
        print(f"{name}: {len(data) / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
