"""What was asked for, and what has become of it once it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paraformer_bench.study.calibration import Calibration
from paraformer_bench.study.ceilings import Ceilings
from paraformer_bench.study.suite import Suite
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.run import Plan


@dataclass(frozen=True)
class Settings:
    """What the command line asked for; None or empty where it said nothing.

    Attributes:
        suite: Name or file of the suite.
        axes: Values that replace the suite's own, by axis.
        device: ``cpu`` or ``cuda:N``.
        plugins: Plugin files.
        blocks: Blocks, instead of the suite's own number.
        budget_seconds: Time after which no block is started.
        out: Run folder.
        resume: Go on with the run in ``out``, or with the newest unfinished one.
        profile: Cases to profile, one of `profiling.CHOICES`.
        shard: Number of the shard to do, and how many there are; None for the whole sweep.
        command: The command as typed, kept for the record.
        launcher: ``local`` or ``ray``; None for that of the resumed run, else ``local``.
        ray_address: The cluster; None for that of the resumed run, else one on this machine.
        ray_nodes: Part of the names of the hosts or devices to use.
    """

    suite: str | None = None
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    device: str | None = None
    plugins: tuple[Path, ...] = ()
    blocks: int | None = None
    budget_seconds: float | None = None
    out: Path | None = None
    resume: bool = False
    profile: str | None = None
    shard: tuple[int, int] | None = None
    command: tuple[str, ...] = ()
    launcher: str | None = None
    ray_address: str | None = None
    ray_nodes: str | None = None


@dataclass(frozen=True)
class Study:
    """A checked request: nothing is written yet.

    Attributes:
        suite: With all overrides applied.
        plan: What to do.
        survey: What is here.
        folder: Where the run will lie or lies.
        resumed: ``run.json`` of the run to go on with, or None.
        calibration: The last one of this device with this PyTorch, for a new run or part of one.
        ceilings: The last ones of this device with this PyTorch.
        warnings: What was wrong with what is kept of this machine, one line each.
        machine: Fingerprint of the type of machine that all records come from; None where the
            run is bound to no other than this machine.
    """

    suite: Suite
    plan: Plan
    survey: Survey
    folder: Path
    resumed: dict[str, Any] | None
    calibration: Calibration | None = None
    ceilings: Ceilings | None = None
    warnings: tuple[str, ...] = ()
    machine: str | None = None
