"""Measuring what a device can do at best: copies, products, launches, graph nodes, waiting."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median

import torch

from paraformer_bench.instrument import precision
from paraformer_bench.instrument.clock import Call, Clock
from paraformer_bench.instrument.device import is_out_of_memory
from paraformer_bench.instrument.memory import release
from paraformer_bench.study.ceilings import Copy, Product
from paraformer_bench.study.errors import Unsupported

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

Make = Callable[[], Call]
"""Allocates what a call needs and returns it."""
Timer = Callable[[Call], float]


def copies(device: torch.device, clock: Clock, room: int) -> list[Copy]:
    """Measure copies of growing size that touch ``room`` bytes at most."""
    sizes = CPU_COPIES if device.type == "cpu" else CUDA_COPIES
    makes = {size: partial(_copy, device, size) for size in sizes if size <= room}
    seconds = _measure(makes, _timer(device, clock), _ROUNDS)
    release(device)
    # A copy of n bytes reads n and writes n: what it touches is what it moves.
    return [Copy(size, size / _best(times)) for size, times in seconds.items()]


def products(device: torch.device, clock: Clock, dtype: str) -> list[Product]:
    """Measure products of growing square matrices, up to where one takes too long.

    Raises:
        Unsupported: The device has no such precision.
    """
    precision.check(dtype, device)
    precision.use(dtype)
    timer = _timer(device, clock)
    makes: dict[int, Make] = {}
    first: dict[int, float] = {}
    for side in CPU_SIDES if device.type == "cpu" else CUDA_SIDES:
        makes[side] = partial(_product, device, dtype, side)
        first[side] = timer(makes[side]())
        if first[side] > _LONGEST_CALL:
            break
    seconds = _measure(makes, timer, _ROUNDS - 1)
    release(device)
    return [
        Product(dtype, 2 * side**3, _best([first[side], *times]))
        for side, times in seconds.items()
    ]


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


def launch_seconds(device: torch.device, clock: Clock) -> float:
    """Host time of one eager operation that has next to nothing to do, many in a row."""
    tiny = torch.zeros(1, device=device)

    def launches() -> None:
        for _ in range(_LAUNCHES):
            tiny.add_(1)

    def once() -> float:
        _wait(device)
        return _host_time(clock, launches) / _LAUNCHES

    once()
    return median(once() for _ in range(2 * _ROUNDS))


def sync_seconds(device: torch.device, clock: Clock) -> float:
    """Host time of waiting for a device that has nothing to do; 0 on a CPU."""
    if device.type == "cpu":
        return 0.0
    _wait(device)
    return median(_host_time(clock, lambda: _wait(device)) for _ in range(_LAUNCHES))


def node_seconds(device: torch.device, clock: Clock) -> float | None:
    """Device time that one more small node adds to a CUDA graph; None if none can be seen."""
    if device.type == "cpu":
        return None
    few, many = (_graph(device, nodes) for nodes in _NODES)
    slope = median(
        (device_time(clock, many) - device_time(clock, few)) / (_NODES[1] - _NODES[0])
        for _ in range(_ROUNDS)
    )
    return slope if slope > 0 else None


def batch_time(clock: Clock, call: Call) -> float:
    """Time a call on the host's clock: as many in a row as 10 ms take."""
    call()
    count = int(_BATCH_SECONDS / max(clock.wall(call), 1e-9))
    count = min(_MOST_CALLS, max(1, count))
    return clock.repeat(call, count) / count


def device_time(clock: Clock, call: Call) -> float:
    """Time a call on the device: the median of some that did not run dry."""
    call()
    samples = [sample for _ in range(7) if (sample := clock.device(call)) is not None]
    good = [sample.seconds for sample in samples if not sample.dry]
    return median(good or [sample.seconds for sample in samples])


def _timer(device: torch.device, clock: Clock) -> Timer:
    return partial(batch_time if device.type == "cpu" else device_time, clock)


def _measure(makes: Mapping[int, Make], timer: Timer, rounds: int) -> dict[int, list[float]]:
    """Time every size once a round, each round in another order.

    A burst of something else so spoils single rounds, not single sizes.
    """
    seconds: dict[int, list[float]] = {size: [] for size in makes}
    for turn in range(rounds):
        order = list(makes)
        random.Random(turn).shuffle(order)
        for size in order:
            seconds[size].append(timer(makes[size]()))
    return seconds


def _best(seconds: Sequence[float]) -> float:
    """Second shortest of the rounds: a limit that was reached more than once."""
    return sorted(seconds)[:2][-1]


def _copy(device: torch.device, size: int) -> Call:
    source = torch.ones(size // 8, device=device)
    target = torch.zeros(size // 8, device=device)
    return lambda: target.copy_(source)


def _product(device: torch.device, dtype: str, side: int) -> Call:
    left = torch.full((side, side), 0.5, device=device, dtype=precision.storage(dtype))
    right, out = left.clone(), left.clone()
    return lambda: torch.mm(left, right, out=out)


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


def _host_time(clock: Clock, call: Call) -> float:
    start = clock.now()
    call()
    return clock.now() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
