"""The logic of device timing, on a host and a device whose times are simulated."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paraformer_bench.instrument.clock import CpuClock, CudaClock

CYCLES_PER_SECOND = 0.9e9  # of the fake device
Machine = Any  # the one in conftest.py


@pytest.fixture
def cuda_clock(machine: Machine) -> CudaClock:
    clock = CudaClock(torch.device("cuda:0"))
    machine.spins.clear()
    return clock


def test_the_clock_is_calibrated_when_made(machine: Machine) -> None:
    CudaClock(torch.device("cuda:0")).device(machine.net(1, 1e-6, 1e-6))
    assert machine.spins[-1] / CYCLES_PER_SECOND == pytest.approx(50e-6, rel=1e-3)


def test_wall_time_is_from_call_to_idle(machine: Machine, cuda_clock: CudaClock) -> None:
    machine.launch(0, 1.0)  # work from before does not count
    # The first kernel starts after its launch; the device is the bottleneck from there on.
    assert cuda_clock.wall(machine.net(10, 1e-5, 1e-3)) == pytest.approx(1e-5 + 10e-3)
    # Here the host is: each kernel waits for its launch, and the last one has to run too.
    assert cuda_clock.wall(machine.net(10, 1e-3, 1e-5)) == pytest.approx(10e-3 + 1e-5)


def test_repeated_calls_are_queued_and_waited_for_once(
    machine: Machine, cuda_clock: CudaClock
) -> None:
    """Launched in 10 us and run in 100 us each: the device is never kept waiting."""
    machine.launch(0.0, 0.5)  # work of someone else, waited for before
    seconds = cuda_clock.repeat(machine.net(1, host=10e-6, device=100e-6), 50)
    assert seconds == pytest.approx(10e-6 + 50 * 100e-6)


def test_device_time_leaves_out_late_launches(machine: Machine, cuda_clock: CudaClock) -> None:
    """100 kernels of 5 us, launched one every 10 us: 1 ms of wall time, 0.5 ms of work."""
    call = machine.net(100, 10e-6, 5e-6)
    assert cuda_clock.wall(call) == pytest.approx(1.005e-3)
    for _ in range(5):
        sample = cuda_clock.device(call)
        assert sample.seconds == pytest.approx(0.5e-3)
        assert not sample.dry


def test_a_first_lead_too_short_is_lengthened_and_the_call_timed_anew(
    machine: Machine, cuda_clock: CudaClock
) -> None:
    sample = cuda_clock.device(machine.net(100, 10e-6, 5e-6))
    assert not sample.dry
    first, *others = machine.spins
    assert first / CYCLES_PER_SECOND < 1e-3  # the launches take 1 ms
    assert others
    assert others[-1] / CYCLES_PER_SECOND > 1e-3
    # From then on the lead fits, and one attempt is enough.
    before = len(machine.spins)
    cuda_clock.device(machine.net(100, 10e-6, 5e-6))
    assert len(machine.spins) == before + 1


def test_the_lead_shrinks_again_for_a_call_that_is_launched_fast(
    machine: Machine, cuda_clock: CudaClock
) -> None:
    cuda_clock.device(machine.net(1000, 10e-6, 5e-6))
    cuda_clock.device(machine.net(1, 10e-6, 5e-6))
    machine.spins.clear()
    cuda_clock.device(machine.net(1, 10e-6, 5e-6))
    assert machine.spins[0] / CYCLES_PER_SECOND == pytest.approx(50e-6, rel=1e-4)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_the_spin_follows_the_device_s_clock(
    machine: Machine, cuda_clock: CudaClock, factor: float
) -> None:
    """A GPU's clock moves by a factor of several between idle and load."""
    call = machine.net(100, 10e-6, 5e-6)
    cuda_clock.device(call)
    machine.cycles_per_second *= factor
    cuda_clock.device(call)
    machine.spins.clear()
    for _ in range(5):
        assert cuda_clock.device(call).seconds == pytest.approx(0.5e-3)
    assert len(machine.spins) == 5
    assert machine.spins[0] / machine.cycles_per_second == pytest.approx(2e-3, rel=1e-3)


def test_a_queue_that_cannot_be_kept_full_is_reported_dry(
    machine: Machine, cuda_clock: CudaClock
) -> None:
    """A call that waits for the device itself is never queued ahead."""

    def call() -> None:
        machine.launch(1e-5, 1e-3)
        machine.synchronize()

    for _ in range(8):
        assert cuda_clock.device(call).dry
    # A second spin shows that a longer one does not help.
    assert max(machine.spins) / CYCLES_PER_SECOND < 3e-3
    assert len(machine.spins) == 8 * 2


def test_more_launches_than_the_queue_holds_cost_no_more_than_two_short_spins(
    machine: Machine, cuda_clock: CudaClock
) -> None:
    """1,500 launches of 10 us: after 1,000 the host waits for the spin, however long it is."""
    machine.queue = 1000
    call = machine.net(1500, 10e-6, 5e-6)
    start = machine.host
    for _ in range(8):
        sample = cuda_clock.device(call)
        assert sample.dry
        assert sample.seconds == pytest.approx(7.5e-3)  # behind 1,000 launches none was late
    assert len(machine.spins) == 8 * 2
    assert max(machine.spins) / CYCLES_PER_SECOND == pytest.approx(30e-3, rel=0.1)
    assert (machine.host - start) / 8 < 60e-3
    # The next call is not made to wait for a lead that this one needed.
    machine.spins.clear()
    assert not cuda_clock.device(machine.net(1, 10e-6, 5e-6)).dry
    assert machine.spins[0] / CYCLES_PER_SECOND == pytest.approx(50e-6, rel=1e-3)


def test_a_queue_that_is_just_long_enough_is_never_dry(
    machine: Machine, cuda_clock: CudaClock
) -> None:
    machine.queue = 1000
    for _ in range(3):
        sample = cuda_clock.device(machine.net(998, 10e-6, 5e-6))
        assert not sample.dry
        assert sample.seconds == pytest.approx(998 * 5e-6)


def test_an_error_in_the_call_comes_through(machine: Machine, cuda_clock: CudaClock) -> None:
    def call() -> Any:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cuda_clock.device(call)
    with pytest.raises(ValueError, match="no"):
        cuda_clock.wall(call)
    assert not cuda_clock.device(machine.net(1, 1e-6, 1e-3)).dry


def test_the_host_clock_times_the_call(machine: Machine) -> None:
    def call() -> None:
        machine.host += 0.125

    assert CpuClock().wall(call) == 0.125
    CpuClock().device(call)
    assert machine.host == 5.125  # that call was not made
