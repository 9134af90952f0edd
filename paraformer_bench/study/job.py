"""What a worker is asked to do: the one message that goes to it. Imports no torch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from paraformer_bench.study.case import Case

LEAST_ENERGY_SECONDS = 2.0
"""Shortest energy window: counters move every 20 to 100 ms, and an end can be off by as much."""


@dataclass(frozen=True)
class Protocol:
    """How cases are measured.

    Attributes:
        blocks: Fresh worker processes that each visit every case.
        rounds: Times a block goes through the cases of a group.
        seconds_per_case: Time for the samples of one case in one block; a quarter more goes
            to its warm-up.
        target_relative_error: Relative half-width of the 95% interval at which sampling stops.
        timeout_seconds: Time one step of a case may take before its worker is killed.
        energy_seconds: Length of the window in which the energy of one case is read in one block,
            after its rounds; 0 for no window.
    """

    blocks: int = 8
    rounds: int = 3
    seconds_per_case: float = 1.0
    target_relative_error: float = 0.01
    timeout_seconds: float = 120.0
    energy_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Steps of one case in one block: its preparation, its rounds and its energy window."""
        return 1 + self.rounds + (self.energy_seconds > 0)


@dataclass(frozen=True)
class Job:
    """A block, or what is left of one.

    Attributes:
        block: Index of the block.
        device: ``cpu`` or ``cuda:N``.
        protocol: How to measure.
        seed: Seeds the order of the rounds.
        plugins: Paths of plugin files to load first.
        groups: Cases in the order of their visit; those of one group are held side by side.
        first_order: Position in the block of the first case.
    """

    block: int
    device: str
    protocol: Protocol
    seed: int
    plugins: list[str]
    groups: list[list[Case]]
    first_order: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        groups = [[case.to_json() for case in group] for group in self.groups]
        return asdict(self) | {"groups": groups}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """Rebuild a job from `to_json`."""
        groups = [[Case.from_json(case) for case in group] for group in data["groups"]]
        protocol = Protocol(**data["protocol"])
        return cls(**(dict(data) | {"groups": groups, "protocol": protocol}))


def round_order(cases: Iterable[Case], seed: int, block: int, turn: int) -> list[Case]:
    """Return the order in which round ``turn`` of a block samples the cases of a group.

    Every round of every pair of blocks is shuffled anew; the second block of a pair goes through
    each round backwards. A drift linear in time then cancels between the two, whatever the
    median makes of the rounds of a block. Each case draws its own place, so that one that fails
    does not change the order of the others.
    """
    draw = {
        case: random.Random(f"{seed}/{block // 2}/{turn}/{case.id}").random() for case in cases
    }
    return sorted(draw, key=draw.__getitem__, reverse=block % 2 == 1)
