"""The probe recovers what a made-up device can do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from paraformer_bench.instrument import ceilings
from paraformer_bench.instrument.clock import Call, DeviceSample
from paraformer_bench.study.errors import Unsupported

CPU = torch.device("cpu")


class Machine:
    """A clock that only calls move on: each takes its seconds, times a burst in some rounds."""

    def __init__(self) -> None:
        self.time = 0.0
        self.calls = 0
        self.burst: Callable[[int], float] = lambda _: 1.0

    def spend(self, seconds: float) -> Call:
        def call() -> None:
            self.calls += 1
            self.time += seconds * self.burst(self.calls)

        return call

    def now(self) -> float:
        return self.time

    def wall(self, call: Call) -> float:
        start = self.time
        call()
        return self.time - start

    def repeat(self, call: Call, times: int) -> float:
        return sum(self.wall(call) for _ in range(times))

    def device(self, call: Call) -> DeviceSample:
        # The host is late at every third call: the queue runs dry, the time is too long.
        dry = self.calls % 3 == 0
        return DeviceSample(self.wall(call) * (5 if dry else 1), dry)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """100 GB/s up to 10 MB and 10 beyond; products of n^3 ps and 2 us on top."""
    made = Machine()

    def copy(_: torch.device, size: int) -> Call:
        return made.spend(size / (1e11 if size <= 10**7 else 1e10))

    def product(_: torch.device, dtype: str, side: int) -> Call:
        return made.spend(2e-6 + side**3 * 1e-12 * (2 if dtype == "float64" else 1))

    monkeypatch.setattr(ceilings, "_copy", copy)
    monkeypatch.setattr(ceilings, "_product", product)
    monkeypatch.setattr(ceilings, "release", lambda _: None)
    return made


def test_copies_have_the_rate_of_their_size(machine: Machine) -> None:
    found = ceilings.copies(CPU, machine, room=2**26)
    assert [copy.footprint_bytes for copy in found] == [2**k for k in range(20, 27)]
    for copy in found:
        rate = 1e11 if copy.footprint_bytes <= 10**7 else 1e10
        assert copy.bytes_per_second == pytest.approx(rate)


def test_products_take_what_they_take(machine: Machine) -> None:
    found = ceilings.products(CPU, machine, "float64")
    assert [round((one.flops / 2) ** (1 / 3)) for one in found] == list(ceilings.CPU_SIDES)
    for one in found:
        assert one.dtype == "float64"
        assert one.seconds == pytest.approx(2e-6 + one.flops * 1e-12)


def test_sizes_stop_where_one_takes_too_long(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "_LONGEST_CALL", 1e-4)
    found = ceilings.products(CPU, machine, "float32")
    assert [round((one.flops / 2) ** (1 / 3)) for one in found][-1] == 512  # 136 us; 384: 58 us


def test_bursts_spoil_rounds_and_not_limits(machine: Machine) -> None:
    machine.burst = lambda calls: 4.0 if 100 < calls < 500 else 1.0  # within the first round
    found = ceilings.copies(CPU, machine, room=2**26)
    assert len(found) == 7
    for copy in found:
        rate = 1e11 if copy.footprint_bytes <= 10**7 else 1e10
        assert copy.bytes_per_second == pytest.approx(rate, rel=0.02)


def test_device_times_that_ran_dry_do_not_count(machine: Machine) -> None:
    assert ceilings.device_time(machine, machine.spend(1e-3)) == pytest.approx(1e-3)


def test_the_costs_of_a_cpu() -> None:
    from paraformer_bench.instrument.clock import CpuClock

    assert ceilings.sync_seconds(CPU, CpuClock()) == 0
    assert ceilings.node_seconds(CPU, CpuClock()) is None
    assert 0 < ceilings.launch_seconds(CPU, CpuClock()) < 1


def test_precisions_that_are_not_there_are_passed_over(machine: Machine) -> None:
    with pytest.raises(Unsupported):
        ceilings.products(CPU, machine, "tf32")
    found = list(ceilings.probe_products(CPU, machine, ["tf32", "float32"]))
    assert [{one.dtype for one in some} for some in found] == [{"float32"}]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_real_calls_do_what_they_are_named_for(dtype: str) -> None:
    target = ceilings._copy(CPU, 2**16)()
    assert isinstance(target, torch.Tensor)
    assert target.nbytes == 2**15
    assert (target == 1).all()
    out = ceilings._product(CPU, dtype, 8)()
    assert isinstance(out, torch.Tensor)
    assert (out == 8 * 0.25).all()


def test_what_runs_out_of_memory_is_not_passed_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(message: str) -> Callable[..., None]:
        def product(*_: object) -> None:
            raise RuntimeError(message)

        return product

    monkeypatch.setattr(ceilings, "_product", fail("not implemented for 'Half'"))
    assert list(ceilings.probe_products(CPU, machine, ["float16"])) == []
    monkeypatch.setattr(ceilings, "_product", fail("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(RuntimeError, match="allocate"):
        list(ceilings.probe_products(CPU, machine, ["float16"]))


@pytest.mark.parametrize(("few", "many", "node"), [(1e-4, 3e-4, 2e-6), (2e-4, 1e-4, None)])
def test_a_node_costs_what_a_longer_graph_takes_more(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, few: float, many: float, node: float | None
) -> None:
    times = {100: few, 200: many}
    monkeypatch.setattr(ceilings, "_graph", lambda _, nodes: machine.spend(times[nodes]))
    found = ceilings.node_seconds(torch.device("cuda:0"), machine)
    assert found == (None if node is None else pytest.approx(node))
