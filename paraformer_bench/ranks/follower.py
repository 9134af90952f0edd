"""A rank of a net other than the first: builds its part and runs it whenever rank 0 does.

`ranks.team` starts it on a `RankJob` and gives its orders, a line of its stdin each: a word and
its argument. Its answers are lines of JSON. It ends with its input, and with its parent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import BinaryIO

import torch
from msgspec import Struct
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.executions._ranks import Ranks
from paraformer_bench.instrument import precision
from paraformer_bench.instrument.bench import (
    Builder,
    build_model,
    make_example,
    parameter_bytes,
)
from paraformer_bench.instrument.device import Device, describe
from paraformer_bench.instrument.memory import make_workspaces, release
from paraformer_bench.instrument.visit import sentinel_case
from paraformer_bench.study import wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.job import RankJob
from paraformer_bench.study.record import Status
from paraformer_bench.study.registry import EXECUTIONS, RANKS


class Build(Struct, frozen=True):
    """The order to build the part of a case, which later orders call by ``number``."""

    number: int
    case: Case
    block: int


class Answer(Struct, frozen=True):
    """How an order went: status and reason as of a record; after ``peak`` what was seen."""

    status: Status
    reason: str | None = None
    peak_bytes: int | None = None
    reserved_bytes: int | None = None
    parameter_bytes: int = 0


@dataclass
class RankPart:
    """Runs one rank's part of a net; every rank must call its own.

    The ``example`` receives the input; on rank 0 it is an input.
    """

    ranks: Ranks
    call: Forward
    example: Tensor
    parameter_bytes: int = 0
    _exchanges: list[Callable[[], object]] | None = field(default=None, init=False)

    def run(self, x: Tensor | None = None) -> Tensor:
        """Send the input of rank 0, ``x`` there and nothing elsewhere, to all; run the net."""
        x = self.example if x is None else x
        self.ranks.broadcast(x)
        if self._exchanges is None:
            with self.ranks.noting() as self._exchanges:
                return self.call(x)
        return self.call(x)

    def communicate(self) -> None:
        """Tell each other as much as in `run`, and compute nothing between."""
        self.ranks.broadcast(self.example)
        for exchange in self._exchanges or ():
            exchange()


@dataclass
class Follower:
    """Obeys rank 0: reads its ``orders``, and gives an ``answer`` to some."""

    job: RankJob
    device: Device
    orders: BinaryIO
    answer: Callable[[Answer], None]
    _ranks: dict[int, Ranks] = field(default_factory=dict, init=False)
    _built: dict[int, tuple[Case, RankPart]] = field(default_factory=dict, init=False)
    _in_use: int | None = field(default=None, init=False)

    def follow(self) -> None:
        """Join the other ranks and obey to the end of the orders.

        Raises:
            Exception: A call failed half way, so that the ranks no longer understand each other;
                it has been told.
        """
        from paraformer_bench.ranks.process_group import join, meet

        job, where = self.job, self.device.torch_device
        torch.set_num_threads(job.threads)
        try:
            # As in a worker, so that what loads on first use is not charged to a real case.
            Builder(self.device, 0).prepare(sentinel_case(job.device), 0.1, {})
            self._ranks = join(meet(job.port, max(job.sizes)), job.rank, job.sizes, where)
            while order := self.orders.readline():
                self._obey(order)
            torch.distributed.destroy_process_group()
        except Exception as error:
            self.answer(Answer(*describe(error)))
            raise

    def _obey(self, order: bytes) -> None:
        word, _, argument = order.decode().strip().partition(" ")
        if word == "build":
            self._build(wire.decode(argument, Build))
        elif word == "drop":
            self._built.pop(int(argument), None)
            release(self.device.torch_device)
        elif word == "run":
            self._use(int(argument)).run()
        elif word == "communicate":
            self._use(int(argument)).communicate()
        elif word == "peak":
            self._peak(self._use(int(argument)))
        else:
            raise ValueError(f"unknown order {word!r}")

    def _build(self, task: Build) -> None:
        case = task.case
        self._in_use = None
        try:
            self._make_settings(case)
            part = build_part(case, self.device, task.block, self._ranks[case.devices])
        except Exception as error:
            self.answer(Answer(*describe(error)))
            return
        self._built[task.number] = case, part
        self.answer(Answer("ok"))

    def _peak(self, part: RankPart) -> None:
        """Watch this process's memory during the next order, which is to run."""
        peak = self.device.memory.peak(lambda: self._obey(self.orders.readline()))
        self.answer(
            Answer(
                status="ok",
                peak_bytes=peak.peak_bytes,
                reserved_bytes=peak.reserved_bytes,
                parameter_bytes=part.parameter_bytes,
            )
        )

    def _use(self, number: int) -> RankPart:
        case, part = self._built[number]
        if number != self._in_use:
            self._make_settings(case)
            self._in_use = number
        return part

    def _make_settings(self, case: Case) -> None:
        precision.use(case.dtype)
        if self.device.torch_device.type == "cpu":
            torch.set_num_threads(threads_of(case, self.job.threads))


def build_part(case: Case, device: Device, block: int, ranks: Ranks) -> RankPart:
    """Build what a follower runs of a case, as rank 0 does but for the gate."""
    where = device.torch_device
    load_modules(case)
    make_workspaces(case, where)
    device.memory.mark()
    model = build_model(case, where)
    return make_part(case, model, make_example(case, where, block), ranks)


def make_part(case: Case, model: nn.Module, example: Tensor, ranks: Ranks) -> RankPart:
    """Cut a rank's part out of a model, by the execution of the case."""
    call = EXECUTIONS.get(case.execution).factory(model, example, ranks)
    return RankPart(ranks, call, example, parameter_bytes(model))


def load_modules(case: Case) -> None:
    """Import what the execution needs on several devices, before memory is looked at."""
    if case.devices > 1:
        for module in EXECUTIONS.get(case.execution).traits.loads:
            import_module(module)


def needs_ranks(case: Case) -> bool:
    """Whether a case is run by several processes."""
    return case.devices > 1 and EXECUTIONS.get(case.execution).traits.spread == RANKS


def threads_of(case: Case, threads: int) -> int:
    """Share of a CPU's threads that each rank of a case computes with: all if it has no ranks."""
    return max(1, threads // case.devices) if needs_ranks(case) else threads
