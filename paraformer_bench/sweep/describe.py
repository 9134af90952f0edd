"""Saying what a sweep will do, before it does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from paraformer_bench.sweep.profile import expected_seconds
from paraformer_bench.sweep.progress import count, duration
from paraformer_bench.sweep.run import Plan
from paraformer_bench.sweep.study import Study

# A worker's start and the preparation of a case, as seen on small machines; only an estimate.
_START_SECONDS = 4.0
_PREPARE_SECONDS = 0.3
# What an energy window takes beyond its own length: calls before it, and two ticks.
_ALIGN_SECONDS = 1.2


def headline(study: Study) -> str:
    """One line: suite, device, cases, blocks and time."""
    plan = study.plan
    name = study.survey.environment["devices"][plan.device]
    part = f"shard {plan.shard}: " if plan.shard else ""
    cases = f"{count(len(plan.visited), 'case')}, {_extent(study)}"
    return f"{study.suite.name} on {plan.device} ({name}): {part}{cases}"


def _extent(study: Study) -> str:
    """How many blocks, and about how long: every case uses all its time, none is compiled."""
    plan = study.plan
    case = 1.25 * plan.protocol.seconds_per_case + _PREPARE_SECONDS
    if plan.protocol.energy_seconds and _no_energy(study) is None:
        case += plan.protocol.energy_seconds + _ALIGN_SECONDS
    if plan.budget_seconds is not None:
        block = _START_SECONDS + len(plan.visited) * case
        budget = f"as many blocks of about {duration(block)} as fit into "
        return f"{budget}{duration(plan.budget_seconds)}"
    counts = [len(plan.measured_in(block)) for block in range(plan.blocks)]
    mine = [count for count in counts if count] if plan.shard else counts
    blocks = count(len(mine), "block")
    if plan.shard:
        divided = "" if plan.shard.whole_blocks or not mine else "parts of "
        blocks = f"{divided}{len(mine) or 'none'} of {count(plan.blocks, 'block')}"
    return f"{blocks}, about {duration(sum(_START_SECONDS + count * case for count in mine))}"


def empty(plan: Plan) -> str:
    """Say that a shard has nothing to do; empty text where it has."""
    groups = len({case.group for case in (*plan.cases, *plan.skipped)})
    if plan.shard is None or any(
        plan.measured_in(block) or plan.skipped_in(block) for block in range(plan.blocks)
    ):
        return ""
    return (
        f"shard {plan.shard} is empty: of {count(plan.blocks, 'block')} of "
        f"{count(groups, 'group')} of cases nothing fell to it"
    )


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
    for case in study.plan.visited:
        curves.setdefault(case.curve_id, []).append(case.depth)
    for curve, depths in sorted(curves.items()):
        lines.append(f"  {curve}: depth {', '.join(map(str, sorted(depths)))}")
    profiled = len(study.plan.to_profile(study.plan.visited))
    if profiled:
        seconds = duration(expected_seconds(profiled))
        lines.append(f"  timelines, after timing: {count(profiled, 'case')}, about {seconds}")
    if energy := energy_line(study):
        lines.append(f"  {energy}")
    for reason, number in Counter(study.plan.skipped.values()).items():
        lines.append(f"  skipped: {count(number, 'case')}: {reason}")
    return lines
