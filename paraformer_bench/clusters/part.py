"""What a merged run keeps of each job that measured some of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paraformer_bench.clusters.shard import MOST_BLOCKS, Shard
from paraformer_bench.study import checks

_KEPT = (
    "name",
    "shard",
    "started",
    "finished",
    "command",
    "environment",
    "versions",
    "calibration",
    "ceilings",
    "ceilings_reason",
    "efficiency",
)
"""What a merged run keeps of the ``run.json`` of each part."""


@dataclass(frozen=True)
class Part:
    """One job of a merged run.

    Attributes:
        shard: Which one; None for a sitting that went on with the merged run.
        blocks: Blocks of the whole run, as far as this job knew.
        data: What the merged run keeps of it.
    """

    shard: Shard | None
    blocks: int
    data: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it has done its share."""
        return self.data.get("finished") is not None

    @classmethod
    def of_run(cls, info: Mapping[str, Any]) -> Part:
        """Return the part that a shard's ``run.json`` tells of."""
        return cls.from_json(
            {name: info.get(name) for name in _KEPT} | {"blocks": blocks_in(info)}
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Part:
        """Rebuild a part of a merged run.

        Raises:
            KeyError, TypeError, ValueError, UsageError: It makes no sense.
        """
        shard = None if data["shard"] is None else Shard.from_json(data["shard"])
        if not isinstance(data["environment"], dict) or not isinstance(data["versions"], dict):
            raise ValueError("no environment or no versions")
        return cls(shard, _blocks(data["blocks"]), dict(data))


def blocks_in(info: Mapping[str, Any]) -> int:
    """Return how many blocks the whole run is to have, as a ``run.json`` tells it.

    Raises:
        KeyError, TypeError, UsageError: It makes no sense.
    """
    return _blocks(info["suite"]["protocol"]["blocks"])


def _blocks(value: object) -> int:
    return checks.whole(value, "blocks", 1, MOST_BLOCKS)
