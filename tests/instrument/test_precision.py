"""TF32 is on for the cases that ask for it and off for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from paraformer_bench.instrument import precision
from paraformer_bench.instrument.bench import Builder
from paraformer_bench.instrument.device import Device
from paraformer_bench.instrument.visit import Visit
from paraformer_bench.study.case import DTYPES, Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.events import Begin, Event, Finished, Prepared, Sampled, Sentinel
from paraformer_bench.study.job import BlockJob, Protocol

MakeCase = Callable[..., Case]


def tf32() -> bool:
    states = {torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32}
    [state] = states  # products and convolutions alike
    return state


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    precision.use("float32")


@pytest.mark.parametrize("name", DTYPES)
def test_only_tf32_may_take_the_shortcut(name: str) -> None:
    precision.use("tf32")
    precision.use(name)
    assert tf32() == (name == "tf32")


def test_tf32_is_stored_as_float32() -> None:
    assert precision.storage("tf32") is torch.float32
    assert precision.storage("bfloat16") is torch.bfloat16


def test_a_device_without_tf32_declines(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="tf32 needs a CUDA device"):
        precision.check("tf32", torch.device("cpu"))
    for major, declines in ((7, True), (8, False), (9, False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, m=major: (m, 0))
        if declines:
            with pytest.raises(Unsupported, match=r"8\.0 or newer"):
                precision.check("tf32", torch.device("cuda:0"))
        else:
            precision.check("tf32", torch.device("cuda:0"))
    precision.check("float32", torch.device("cpu"))


def test_every_call_of_a_visit_runs_in_its_own_precision(
    make_case: MakeCase, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group in TF32, visited after one in float32; the sentinel in between is float32."""
    monkeypatch.setattr(precision, "check", lambda name, device: None)
    wall, seen = device.clock.wall, []

    def watched(call: Callable[[], object]) -> float:
        seen.append(tf32())
        return wall(call)

    monkeypatch.setattr(device.clock, "wall", watched)
    full, fast = make_case(), make_case(dtype="tf32")
    job = BlockJob(
        device="cpu",
        block=0,
        protocol=Protocol(rounds=2, seconds_per_case=0.01),
        seed=0,
        groups=[[full], [fast]],
    )
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, Sentinel):
            assert not any(seen)
        elif isinstance(event, Prepared | Sampled) and event.case_id == fast.id:
            assert seen
            assert all(seen)
        if not isinstance(event, Begin):
            seen.clear()

    visit = Visit(Builder(device, 0), job, emit)
    assert visit.group([full])
    seen.clear()
    assert visit.group([fast])
    assert [e.status for e in events if isinstance(e, Finished)] == ["ok", "ok"]
