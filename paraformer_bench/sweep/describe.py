"""Saying what a sweep will do, before it does it."""

from __future__ import annotations

from collections import Counter

from paraformer_bench.profiling import choose
from paraformer_bench.sweep.profile import expected_seconds
from paraformer_bench.sweep.progress import duration
from paraformer_bench.sweep.setup import Study

# A worker's start and the preparation of a case, as seen on small machines; only an estimate.
_START_SECONDS = 4.0
_PREPARE_SECONDS = 0.3
# What an energy window takes beyond its own length: calls before it, and two ticks.
_ALIGN_SECONDS = 1.2


def headline(study: Study) -> str:
    """One line: suite, device, cases, blocks and time."""
    plan = study.plan
    name = study.survey.environment["devices"][plan.device]
    return (
        f"{study.suite.name} on {plan.device} ({name}): {len(plan.cases)} cases, {_extent(study)}"
    )


def _extent(study: Study) -> str:
    """How many blocks, and about how long: every case uses all its time, none is compiled."""
    plan = study.plan
    case = 1.25 * plan.protocol.seconds_per_case + _PREPARE_SECONDS
    if plan.protocol.energy_seconds and _no_energy(study) is None:
        case += plan.protocol.energy_seconds + _ALIGN_SECONDS
    block = _START_SECONDS + len(plan.cases) * case
    blocks = f"{plan.blocks} blocks, about {duration(plan.blocks * block)}"
    if plan.budget_seconds is None:
        return blocks
    budget = f"as many blocks of about {duration(block)} as fit into "
    return f"{budget}{duration(plan.budget_seconds)}"


def energy_line(study: Study) -> str | None:
    """What becomes of the energy windows that the suite asks for; None if it asks for none."""
    seconds = study.plan.protocol.energy_seconds
    if not seconds:
        return None
    if reason := _no_energy(study):
        return f"energy will not be measured: {reason}"
    return f"energy: a window of {seconds:g} s for each case and block, after its timed rounds"


def _no_energy(study: Study) -> str | None:
    """Why no energy can be read on the device of the sweep; None if it can."""
    reason: str | None = study.survey.environment["energy"][study.plan.device]["reason"]
    return reason


def dry_run(study: Study) -> list[str]:
    """Every curve with its depths, and what will be skipped and why."""
    lines = []
    curves: dict[str, list[int]] = {}
    for case in study.plan.cases:
        curves.setdefault(case.curve_id, []).append(case.depth)
    for curve, depths in sorted(curves.items()):
        lines.append(f"  {curve}: depth {', '.join(map(str, sorted(depths)))}")
    profiled = len(choose(study.plan.cases, study.plan.profile))
    if profiled:
        seconds = duration(expected_seconds(profiled))
        lines.append(f"  timelines, after timing: {profiled} cases, about {seconds}")
    if energy := energy_line(study):
        lines.append(f"  {energy}")
    for reason, count in Counter(study.plan.skipped.values()).items():
        lines.append(f"  skipped: {count} cases: {reason}")
    return lines
