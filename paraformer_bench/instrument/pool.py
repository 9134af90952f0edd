"""Keeping the cases of a group ready side by side, as far as memory allows."""

from __future__ import annotations

from collections.abc import Callable

from paraformer_bench.instrument.bench import Bench, References, prepare, rebuild
from paraformer_bench.instrument.device import Device, is_out_of_memory
from paraformer_bench.instrument.memory import release
from paraformer_bench.study.case import Case


class Pool:
    """Prepared cases of one group.

    When half the memory is in use, or a case runs out of it, the others are let go; they are
    built again at their next visit.

    Args:
        device: Where the cases live.
        block: Index of the block.
    """

    def __init__(self, device: Device, block: int) -> None:
        self._device = device
        self._block = block
        self._ready: dict[Case, Bench] = {}
        self._references: References = {}

    def prepare(self, case: Case, seconds: float) -> Bench:
        """Prepare ``case`` for the first time; see `bench.prepare` for what can be raised."""
        device, block, references = self._device, self._block, self._references
        return self._add(case, lambda: prepare(case, device, block, seconds, references))

    def get(self, case: Case) -> Bench:
        """Return a case prepared before, building it again if it was let go."""
        if case in self._ready:
            self._device.use(case)
            return self._ready[case]
        return self._add(case, lambda: rebuild(case, self._device, self._block))

    def alone(self, case: Case) -> bool:
        """Whether no other case is held."""
        return self._ready.keys() <= {case}

    def drop(self, case: Case) -> None:
        """Let one case go, and with a CUDA graph all others.

        In torch 2.13 (not yet in 2.11) a graph that goes frees the workspace that cuBLAS keeps
        for the capture stream, and the others would replay with its memory (pytorch #193402).
        """
        gone = [case]
        if case.runtime == "graph":
            gone += [other for other in self._ready if other.runtime == "graph"]
        for one in gone:
            self._ready.pop(one, None)
        self._device.team.drop(gone)
        release(self._device.torch_device)

    def drop_all(self) -> None:
        """Let every case go."""
        self._device.team.drop(list(self._ready))
        self._ready.clear()
        release(self._device.torch_device)

    def _add(self, case: Case, build: Callable[[], Bench]) -> Bench:
        if self._ready and self._device.memory.full():
            self.drop_all()
        try:
            self._ready[case] = build()
        except Exception as error:
            if not (self._ready and is_out_of_memory(error)):
                raise
        if case not in self._ready:  # past the handler, whose traceback keeps tensors alive
            self.drop_all()
            self._ready[case] = build()
        return self._ready[case]
