"""A run as tables, for notebooks. Needs no torch. Seconds and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from paraformer_bench.analysis.claim import verdict_file
from paraformer_bench.analysis.predictions import Prediction, predict
from paraformer_bench.analysis.roofline import cases_with_floors
from paraformer_bench.analysis.tables import block_table
from paraformer_bench.analysis.verdict import Verdict
from paraformer_bench.report.traces import read_traces
from paraformer_bench.study.run_folder import Run, read_run


@dataclass(frozen=True)
class LoadedRun:
    """A run, judged anew from its records. Every table is made when it is first asked for.

    ``docs/data.md`` lists the columns of all tables.

    Attributes:
        run: As read from the disk.
    """

    run: Run

    @property
    def info(self) -> dict[str, Any]:
        """What ``run.json`` says: suite, command, environment, versions, commit."""
        return self.run.info.plain()

    @property
    def warnings(self) -> list[str]:
        """What was wrong with the files, one line each."""
        return self.run.warnings

    @cached_property
    def cases(self) -> pd.DataFrame:
        """A row a case: `analysis.tables.case_table`, and ``floor``, its roofline time (s)."""
        return cases_with_floors(self.run)

    @cached_property
    def blocks(self) -> pd.DataFrame:
        """A row a case and block: `analysis.tables.block_table`."""
        return block_table(self.run.records)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row a timed call.

        Columns: ``case_id``, ``block``, ``basis``, ``round``, ``sample``, ``seconds``. ``basis``
        is ``wall`` or ``device``; ``round`` and ``sample`` count from 0; no round is known (-1)
        of a device time.
        """
        rows = []
        for record in self.run.records:
            key = (record.case.id, record.block)
            rounds = [n for n, count in enumerate(record.rounds) for _ in range(count)]
            rounds += [-1] * (len(record.wall_seconds) - len(rounds))
            for number, (seconds, turn) in enumerate(
                zip(record.wall_seconds, rounds, strict=False)
            ):
                rows.append((*key, "wall", turn, number, seconds))
            for number, seconds in enumerate(record.device_seconds or ()):
                rows.append((*key, "device", -1, number, seconds))
        columns = ["case_id", "block", "basis", "round", "sample", "seconds"]
        table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
        return table

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row a curve and basis: the fields of ``verdicts.json``, the nested spread out."""
        table: pd.DataFrame = pd.DataFrame([_flat(verdict) for verdict in self._verdicts])
        return table

    @cached_property
    def ratios(self) -> pd.DataFrame:
        """A row a depth of a curve: time over that of its shallowest depth, with its bounds."""
        return self._lists("ratios")

    @cached_property
    def speedups(self) -> pd.DataFrame:
        """A row a depth of a parallel curve: time of the serial net over its time."""
        return self._lists("speedup")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row a depth of a curve with a latency model: what it says and what was measured."""
        rows = [
            {"curve_id": entry["curve_id"], "basis": entry["basis"]} | step
            for entry in (prediction.flat() for prediction in self._predictions)
            for step in entry.get("steps") or ()
        ]
        return pd.json_normalize(rows, sep="_")

    @cached_property
    def timelines(self) -> pd.DataFrame:
        """A row a case with a trace: `timeline.timeline.Timeline`. Reads all traces."""
        rows = [
            {name: value for name, value in traced.flat().items() if name != "case"}
            for traced in read_traces(self.run).traced
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    @cached_property
    def _verdicts(self) -> list[Verdict]:
        return verdict_file(self.run)

    @cached_property
    def _predictions(self) -> list[Prediction]:
        return predict(self.run, self._verdicts)

    def _lists(self, name: str) -> pd.DataFrame:
        rows = [
            {"curve_id": entry["curve_id"], "basis": entry["basis"]} | row
            for entry in (verdict.flat() for verdict in self._verdicts)
            for row in entry[name]
        ]
        table: pd.DataFrame = pd.DataFrame(rows)
        return table


def load_run(path: str | PathLike[str]) -> LoadedRun:
    """Read a run folder for a notebook.

    Args:
        path: ``reports/<run>``.

    Raises:
        UsageError: It holds no readable run.
    """
    return LoadedRun(read_run(Path(path)))


def _flat(verdict: Verdict) -> dict[str, Any]:
    """Return the fields of a verdict without those that have tables of their own."""
    row: dict[str, Any] = {}
    for name, value in verdict.flat().items():
        if name in ("worst", "exponent"):
            row |= {f"{name}_{part}": number for part, number in (value or {}).items()}
        elif name not in ("ratios", "speedup"):
            row[name] = value
    return row
