"""What tests of the instrument share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.energy import NoMeter
from paraformer_bench.study.case import Case
from tests.fakes import (
    FakeClock,
    FakeHost,
    FakeMemory,
    FakeTelemetry,
    Machine,
    on_one_thread,
    simulated,
    tiny_case,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return simulated(monkeypatch)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def device(clock: FakeClock) -> Device:
    """The CPU, with a fake clock, fake memory and fake telemetry."""
    return Device(
        torch.device("cpu"),
        clock,
        FakeMemory(),
        FakeTelemetry(),
        FakeHost(),
        NoMeter("no meter was opened"),
    )


@pytest.fixture
def fake_telemetry() -> type[FakeTelemetry]:
    return FakeTelemetry


@pytest.fixture
def make_case() -> Callable[..., Case]:
    return tiny_case


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with on_one_thread():
        yield
