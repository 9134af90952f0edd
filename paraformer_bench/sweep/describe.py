"""Saying what a sweep will do, before it does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from paraformer_bench.profiling import choose
from paraformer_bench.sweep.profile import expected_seconds
from paraformer_bench.sweep.progress import duration
from paraformer_bench.sweep.run import Plan
from paraformer_bench.sweep.setup import Study

# A worker's start and the preparation of a case, as seen on small machines; only an estimate.
_START_SECONDS = 4.0
_PREPARE_SECONDS = 0.3


def headline(study: Study) -> str:
    """One line: suite, device, cases, blocks and time."""
    plan = study.plan
    name = study.survey.environment["devices"][plan.device]
    return (
        f"{study.suite.name} on {plan.device} ({name}): {len(plan.cases)} cases, {_extent(plan)}"
    )


def _extent(plan: Plan) -> str:
    """How many blocks, and about how long: every case uses all its time, none is compiled."""
    case = 1.25 * plan.protocol.seconds_per_case + _PREPARE_SECONDS
    block = _START_SECONDS + len(plan.cases) * case
    blocks = f"{plan.blocks} blocks, about {duration(plan.blocks * block)}"
    if plan.budget_seconds is None:
        return blocks
    budget = f"as many blocks of about {duration(block)} as fit into "
    return f"{budget}{duration(plan.budget_seconds)}"


def describe_machines(machines: Iterable[Mapping[str, Any]]) -> list[str]:
    """How many blocks run at once where, and what disturbs them; nothing for this machine.

    Args:
        machines: As ``run.json`` has them.
    """
    devices: Counter[str] = Counter()
    held_back = set()
    for machine in machines:
        devices[machine["host"]] += machine["devices"]
        if machine["niceness"]:
            held_back.add(machine["host"])
    if not devices:
        return []
    hosts = ", ".join(f"{host} ({count})" for host, count in sorted(devices.items()))
    lines = [f"  blocks at once: {devices.total()}, on {hosts}"]
    if held_back:
        lines.append(
            f"  warning: workers on {', '.join(sorted(held_back))} stand back behind all other "
            f"programs: start Ray there with RAY_worker_niceness=0"
        )
    return lines


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
    for reason, count in Counter(study.plan.skipped.values()).items():
        lines.append(f"  skipped: {count} cases: {reason}")
    return lines
