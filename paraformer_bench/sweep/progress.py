"""Saying what a sweep will do and how long it will take, before it does it and while it does."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from paraformer_bench.clusters.shard import whole_blocks
from paraformer_bench.study.run_folder import Node
from paraformer_bench.study.words import count
from paraformer_bench.sweep.plan import Plan, Study
from paraformer_bench.sweep.timelines import expected_seconds

_REDRAW_SECONDS = 1.0
_LINE_SECONDS = 15.0
# A worker's start and the preparation of a case, as seen on small machines; only an estimate.
_START_SECONDS = 4.0
_PREPARE_SECONDS = 0.3
# What an energy window takes beyond its own length: calls before it, and two ticks.
_ALIGN_SECONDS = 1.2


class SweepProgress:
    """A bar on a terminal, a line every 15 seconds elsewhere.

    Drawing costs CPU time that the worker could need, so nothing is drawn but on `step`, which
    is called when the worker is between two samples, and at most once a second.

    Args:
        console: Where to draw.
        steps: Steps in the whole sweep, if it is not ended before by its budget.
        deadline: When the budget is spent, on ``clock``; infinity without one.
        clock: Seconds on a monotonic clock.
    """

    def __init__(
        self,
        console: Console,
        steps: int,
        deadline: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._start = self._drawn = clock()
        self._deadline = deadline
        self._steps = max(steps, 1)
        self._taken = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  {task.fields[left]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=1, left="")
        self._drawing = console.is_terminal  # by now: it may hang up
        if self._drawing:
            self._bar.start()

    def step(self, steps: int, what: str) -> None:
        """Note that ``steps`` more are done; ``what`` is under way."""
        self._taken += steps
        now = self._clock()
        pause = _REDRAW_SECONDS if self._drawing else _LINE_SECONDS
        if now - self._drawn < pause:
            return
        self._drawn = now
        seconds = self.seconds_left()
        passed = now - self._start
        share = passed / (passed + seconds)
        left = f"{duration(seconds)} left"
        if self._drawing:
            self._bar.update(self._task, completed=share, description=what, left=left)
            self._bar.refresh()
        else:
            self._console.print(f"{share:4.0%}  {left}  {what}", highlight=False)

    def seconds_left(self) -> float:
        """Estimate from the pace so far, and from the deadline."""
        now = self._clock()
        pace = (now - self._start) / max(self._taken, 1)
        return max(min(pace * (self._steps - self._taken), self._deadline - now), 0)

    def __enter__(self) -> SweepProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar off the screen."""
        if self._drawing:
            self._bar.stop()


def duration(seconds: float) -> str:
    """Write seconds as people do: ``45 s``, ``3 min 20 s``, ``1 h 5 min``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


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
    sizes = [len(plan.measured_in(block)) for block in range(plan.blocks)]
    mine = [size for size in sizes if size] if plan.shard else sizes
    blocks = count(len(mine), "block")
    if plan.shard:
        divided = "" if whole_blocks(plan.shard) or not mine else "parts of "
        blocks = f"{divided}{len(mine) or 'none'} of {count(plan.blocks, 'block')}"
    return f"{blocks}, about {duration(sum(_START_SECONDS + size * case for size in mine))}"


def empty(plan: Plan) -> str:
    """Say that a shard has nothing to do; empty text where it has."""
    groups = len({case.group for case in plan.all_cases})
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


def describe_nodes(nodes: Iterable[Node]) -> list[str]:
    """How many blocks run at once where, and what disturbs them; nothing for this machine."""
    devices: Counter[str] = Counter()
    held_back = set()
    for node in nodes:
        devices[node.host] += node.devices
        if node.niceness:
            held_back.add(node.host)
    if not devices:
        return []
    hosts = ", ".join(f"{host} ({number})" for host, number in sorted(devices.items()))
    lines = [f"  blocks at once: {devices.total()}, on {hosts}"]
    if held_back:
        lines.append(
            f"  warning: workers on {', '.join(sorted(held_back))} stand back behind all other "
            f"programs: start Ray there with RAY_worker_niceness=0"
        )
    return lines


def describe_plan(study: Study) -> list[str]:
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
