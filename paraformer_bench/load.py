"""A run as tables, for notebooks. Needs no torch. Seconds and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat, zip_longest
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from paraformer_bench.analysis.claim import Verdict, verdict_file
from paraformer_bench.analysis.latency_model import Prediction, predict
from paraformer_bench.analysis.roofline import cases_with_floors
from paraformer_bench.analysis.tables import block_table
from paraformer_bench.report.traces import read_traces
from paraformer_bench.study.case import Fields
from paraformer_bench.study.run_folder import Run, read_run


@dataclass(frozen=True)
class LoadedRun:
    """A run, judged anew from its records. Every table is made when it is first asked for.

    ``docs/data.md`` lists the columns of all tables.
    """

    run: Run

    @property
    def info(self) -> Fields:
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
        rows: list[tuple[object, ...]] = []
        for record in self.run.records:
            key = (record.case.id, record.block)
            rounds = chain.from_iterable(repeat(n, size) for n, size in enumerate(record.rounds))
            wall = zip_longest(record.wall_seconds, rounds, fillvalue=-1)
            rows += [(*key, "wall", turn, n, time) for n, (time, turn) in enumerate(wall)]
            events = enumerate(record.device_seconds or ())
            rows += [(*key, "device", -1, n, time) for n, time in events]
        return _table(rows, ["case_id", "block", "basis", "round", "sample", "seconds"])

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row a curve and basis: the fields of ``verdicts.json``, the nested spread out."""
        rows = []
        for verdict in self._verdicts:
            row: Fields = {}
            for name, value in verdict.flat().items():
                if name in ("worst", "exponent"):
                    row |= {f"{name}_{part}": number for part, number in (value or {}).items()}
                elif name not in ("ratios", "speedup"):
                    row[name] = value
            rows.append(row)
        return _table(rows)

    @cached_property
    def ratios(self) -> pd.DataFrame:
        """A row a depth of a curve: time over that of its shallowest depth, with its bounds."""
        return _table(_spread(self._verdicts, "ratios"))

    @cached_property
    def speedups(self) -> pd.DataFrame:
        """A row a depth of a parallel curve: time of the serial net over its time."""
        return _table(_spread(self._verdicts, "speedup"))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row a depth of a curve with a latency model: what it says and what was measured."""
        steps = _spread(predict(self.run, self._verdicts), "steps")
        return pd.json_normalize(steps, sep="_")

    @cached_property
    def timelines(self) -> pd.DataFrame:
        """A row a case with a trace: `timeline.timeline.Timeline`. Reads all traces."""
        entries = [traced.flat() for traced in read_traces(self.run).traced]
        return _table([{k: v for k, v in entry.items() if k != "case"} for entry in entries])

    @cached_property
    def _verdicts(self) -> list[Verdict]:
        return verdict_file(self.run)


def load_run(path: str | PathLike[str]) -> LoadedRun:
    """Read a run folder, ``reports/<run>``, for a notebook.

    Raises:
        UsageError: It holds no readable run.
    """
    return LoadedRun(read_run(Path(path)))


def _table(rows: list[Any], columns: list[str] | None = None) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table


def _spread(judged: Sequence[Verdict | Prediction], name: str) -> list[Fields]:
    """Rows of a list that entries hold, each with the curve and basis it is of."""
    return [
        {"curve_id": entry["curve_id"], "basis": entry["basis"]} | row
        for entry in (one.flat() for one in judged)
        for row in entry.get(name, ())
    ]
