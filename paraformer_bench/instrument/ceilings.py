"""Measuring what a device can do at best: copies, products, launches, graph nodes, waiting."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch

from paraformer_bench.instrument import precision
from paraformer_bench.instrument.clock import Call, Clock
from paraformer_bench.instrument.device import is_out_of_memory
from paraformer_bench.instrument.memory import release
from paraformer_bench.study.ceilings import Copy, Product
from paraformer_bench.study.errors import Unsupported

MIB = 2**20

CPU_COPIES = tuple(2**k for k in range(20, 29))
"""Bytes that a copy touches: 1 MiB, below which starting it takes over a tenth of the time, to
256 MiB."""
CUDA_COPIES = tuple(2**k for k in range(20, 31))
"""1 MiB to 1 GiB."""
CPU_SIDES = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536)
CUDA_SIDES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144)
"""Sides of the square matrices that are multiplied."""

_ROUNDS = 5
_BATCH_SECONDS = 0.01
_MOST_CALLS = 100
_LONGEST_CALL = 0.15
_LAUNCHES = 200
_NODES = (100, 200)


@dataclass
class Probe:
    """Something that is measured several times.

    Attributes:
        make: Allocates what the call needs and returns the call.
        seconds: Seconds of one call, one value a round.
    """

    make: Callable[[], Call]
    seconds: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Second shortest of the rounds: a limit that was reached more than once."""
        return sorted(self.seconds)[:2][-1]


def measure(probes: Sequence[Probe], time_call: Callable[[Call], float], rounds: int) -> None:
    """Time every probe once a round, each round in another order.

    A burst of something else so spoils single rounds, not single sizes.
    """
    for turn in range(rounds):
        order = list(probes)
        random.Random(turn).shuffle(order)
        for probe in order:
            probe.seconds.append(time_call(probe.make()))


def batch_time(clock: Clock) -> Callable[[Call], float]:
    """Return what times a call on the host's clock: as many in a row as 10 ms take."""

    def timed(call: Call) -> float:
        call()
        once = _stopwatch(clock, call)
        count = min(_MOST_CALLS, max(1, int(_BATCH_SECONDS / max(once, 1e-9))))
        start = clock.now()
        for _ in range(count):
            call()
        return (clock.now() - start) / count

    return timed


def device_time(clock: Clock) -> Callable[[Call], float]:
    """Return what times a call on the device: the median of some that did not run dry."""

    def timed(call: Call) -> float:
        call()
        samples = [sample for _ in range(7) if (sample := clock.device(call)) is not None]
        good = [sample.seconds for sample in samples if not sample.dry]
        return median(good or [sample.seconds for sample in samples])

    return timed


def copies(device: torch.device, clock: Clock, room: int) -> list[Copy]:
    """Measure copies of growing size.

    Args:
        device: Where.
        clock: Its clock.
        room: Bytes that may be touched.
    """
    sizes = CPU_COPIES if device.type == "cpu" else CUDA_COPIES
    probes = {size: Probe(_copy(device, size)) for size in sizes if size <= room}
    measure(list(probes.values()), _timer(device, clock), _ROUNDS)
    release(device)
    # A copy of n bytes reads n and writes n: what it touches is what it moves.
    return [Copy(size, size / probe.best) for size, probe in probes.items()]


def products(device: torch.device, clock: Clock, dtype: str) -> list[Product]:
    """Measure products of growing square matrices, up to where one takes too long.

    Raises:
        Unsupported: The device has no such precision.
    """
    precision.check(dtype, device)
    precision.use(dtype)
    timed = _timer(device, clock)
    probes: dict[int, Probe] = {}
    for side in CPU_SIDES if device.type == "cpu" else CUDA_SIDES:
        probe = Probe(_product(device, dtype, side))
        probe.seconds.append(timed(probe.make()))
        probes[side] = probe
        if probe.best > _LONGEST_CALL:
            break
    measure(list(probes.values()), timed, _ROUNDS - 1)
    release(device)
    return [Product(dtype, 2 * side**3, probe.best) for side, probe in probes.items()]


def launch_seconds(device: torch.device, clock: Clock) -> float:
    """Host time of one eager operation that has next to nothing to do, many in a row."""
    tiny = torch.zeros(1, device=device)

    def once() -> float:
        _wait(device)
        start = clock.now()
        for _ in range(_LAUNCHES):
            tiny.add_(1)
        return (clock.now() - start) / _LAUNCHES

    once()
    return median(once() for _ in range(2 * _ROUNDS))


def sync_seconds(device: torch.device, clock: Clock) -> float:
    """Host time of waiting for a device that has nothing to do; 0 on a CPU."""
    if device.type == "cpu":
        return 0.0
    _wait(device)
    return median(_stopwatch(clock, lambda: _wait(device)) for _ in range(_LAUNCHES))


def node_seconds(device: torch.device, clock: Clock) -> float | None:
    """Device time that one more small node adds to a CUDA graph; None if none can be seen."""
    if device.type == "cpu":
        return None
    few, many = (_graph(device, nodes) for nodes in _NODES)
    timed = device_time(clock)
    slope = median((timed(many) - timed(few)) / (_NODES[1] - _NODES[0]) for _ in range(_ROUNDS))
    return slope if slope > 0 else None


def probe_products(
    device: torch.device, clock: Clock, dtypes: Sequence[str]
) -> Iterator[list[Product]]:
    """Measure the products of each precision that the device has."""
    for dtype in dtypes:
        try:
            yield products(device, clock, dtype)
        except Unsupported:
            continue
        except RuntimeError as error:  # no kernel for it here: no case will run in it
            if is_out_of_memory(error):
                raise


def _timer(device: torch.device, clock: Clock) -> Callable[[Call], float]:
    return batch_time(clock) if device.type == "cpu" else device_time(clock)


def _copy(device: torch.device, size: int) -> Callable[[], Call]:
    def make() -> Call:
        source = torch.ones(size // 8, device=device)
        target = torch.zeros(size // 8, device=device)
        return lambda: target.copy_(source)

    return make


def _product(device: torch.device, dtype: str, side: int) -> Callable[[], Call]:
    def make() -> Call:
        storage = precision.storage(dtype)
        left = torch.full((side, side), 0.5, device=device, dtype=storage)
        right, out = left.clone(), left.clone()
        return lambda: torch.mm(left, right, out=out)

    return make


def _graph(device: torch.device, nodes: int) -> Call:
    tiny = torch.zeros(1, device=device)
    tiny.add_(1)
    _wait(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(nodes):
            tiny.add_(1)

    def replay(_kept: torch.Tensor = tiny) -> None:  # the graph itself does not keep it alive
        graph.replay()

    return replay


def _stopwatch(clock: Clock, call: Call) -> float:
    start = clock.now()
    call()
    return clock.now() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
