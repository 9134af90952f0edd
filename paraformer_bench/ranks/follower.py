"""A rank of a net other than the first: builds its part and runs it whenever rank 0 does.

Run as ``python -m paraformer_bench.ranks.follower`` by `ranks.team`. Orders are lines on
stdin: first the settings, then a word and its argument. Answers are lines of JSON on what was
stdout. It ends with its input, and with its parent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch

from paraformer_bench.executions._ranks import Ranks
from paraformer_bench.instrument.bench import build_part, prepare
from paraformer_bench.instrument.device import Device, at_work
from paraformer_bench.instrument.memory import release
from paraformer_bench.instrument.visit import describe, sentinel_case
from paraformer_bench.ranks.part import Part
from paraformer_bench.ranks.process_group import join, leave, meet
from paraformer_bench.ranks.team import Team
from paraformer_bench.study.case import Case
from paraformer_bench.study.plugins import load_plugins
from paraformer_bench.workers.process import ParentGone, die_with_parent, take_stdout

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class _Held:
    """A case whose part is built."""

    case: Case
    part: Part
    parameter_bytes: int


class Follower:
    """Obeys rank 0.

    Args:
        device: This rank's own.
        ranks: By their number, as `process_group.join` returns them.
        orders: Where they are read.
        answer: Where answers go.
    """

    def __init__(
        self, device: Device, ranks: dict[int, Ranks], orders: BinaryIO, answer: Emit
    ) -> None:
        self._device = device
        self._ranks = ranks
        self._orders = orders
        self._answer = answer
        self._held: dict[int, _Held] = {}
        self._in_use: _Held | None = None

    def serve(self) -> None:
        """Obey until there are no more orders.

        Raises:
            Exception: A call failed half way, so that the ranks no longer understand each other.
        """
        while order := self._orders.readline():
            self._obey(order)

    def _obey(self, order: bytes) -> None:
        word, _, argument = order.decode().strip().partition(" ")
        if word == "build":
            self._build(**json.loads(argument))
            return
        number = int(argument)
        if word == "drop":
            self._drop(number)
            return
        held = self._use(number)
        if word == "run":
            held.part.run()
        elif word == "communicate":
            held.part.communicate()
        elif word == "peak":
            self._peak(held)
        else:
            raise ValueError(f"unknown order {word!r}")

    def _build(self, number: int, case: dict[str, Any], block: int) -> None:
        try:
            self._held[number] = self._built(Case.from_json(case), block)
        except Exception as error:
            status, reason = describe(error)
            self._answer({"status": status, "reason": reason})
            return
        self._answer({"status": "ok", "facts": {}})

    def _built(self, case: Case, block: int) -> _Held:
        part, size = build_part(case, self._device, block, self._ranks[case.devices])
        self._in_use = None
        return _Held(case, part, size)

    def _peak(self, held: _Held) -> None:
        """Watch this process's memory during the next order, which is to run."""
        peak = self._device.memory.peak(lambda: self._obey(self._orders.readline()))
        facts = {
            "peak_bytes": peak.peak_bytes,
            "reserved_bytes": peak.reserved_bytes,
            "parameter_bytes": held.parameter_bytes,
        }
        self._answer({"status": "ok", "facts": facts})

    def _use(self, number: int) -> _Held:
        held = self._held[number]
        if held is not self._in_use:
            self._device.use(held.case)
            self._in_use = held
        return held

    def _drop(self, number: int) -> None:
        held = self._held.pop(number, None)
        if held is self._in_use:
            self._in_use = None
        del held
        release(self._device.torch_device)


def main() -> int:
    """Follow rank 0 to the end of its orders.

    Returns:
        0, or 1 when a call failed half way or rank 0 has gone.
    """
    answer = take_stdout()
    die_with_parent()
    orders = sys.stdin.buffer
    hello = json.loads(orders.readline())
    torch.set_num_threads(hello["threads"])
    load_plugins(map(Path, hello["plugins"]))
    try:
        with at_work(hello["device"]) as alone:
            device = replace(alone, team=Team(hello["device"]))
            # As in a worker, so that what loads on first use is not charged to a real case.
            prepare(sentinel_case(hello["device"]), device, 0, 0.1, {})
            store = meet(hello["port"], max(hello["sizes"]))
            ranks = join(store, hello["rank"], hello["sizes"], device.torch_device)
            Follower(device, ranks, orders, answer).serve()
            leave()
    except ParentGone:
        return 1
    except Exception as error:
        status, reason = describe(error)
        answer({"status": status, "reason": reason})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
