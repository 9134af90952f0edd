"""Our clock beside others', with clocks whose truth is known: no GPU is needed here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import gpu_agreement as subject
from paraformer_bench.instrument.clock import DeviceSample
from paraformer_bench.study.case import Case
from tests.fakes import tiny_case

CASE = tiny_case(
    model="paraformer", execution="stacked", depth=4, dtype="bfloat16", device="cuda:0"
)


def device_of(device: float, wall: float, dry: int = 0) -> Any:
    """A clock that reads so many seconds; the first ``dry`` samples say that the queue ran dry."""
    taken = iter(range(10_000))
    return SimpleNamespace(
        clock=SimpleNamespace(
            device=lambda call: DeviceSample(device, next(taken) < dry), wall=lambda call: wall
        )
    )


def test_turns_are_paired() -> None:
    """A machine that slows down during the turns slows both."""
    ours, theirs = iter([1.0, 2.0, 8.0]), iter([2.0, 4.0, 16.0])
    found = subject.agree("x", CASE, lambda: next(ours), lambda: next(theirs), 3)
    assert (found.ours, found.theirs, found.ratio) == (2.0, 4.0, 0.5)


def test_dry_samples_are_left_out_and_too_many_end_it() -> None:
    bench: Any = SimpleNamespace(call=lambda: None)
    assert subject.device_time(device_of(3e-6, 1.0, dry=10), bench) == 3e-6
    with pytest.raises(SystemExit, match="ran dry in 40 of 50"):
        subject.device_time(device_of(3e-6, 1.0, dry=40), bench)


def test_every_pair_is_of_the_same_net(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []

    def prepare(case: Case, *_: Any) -> Any:
        prepared.append(case.runtime)
        return SimpleNamespace(call=case.runtime)

    monkeypatch.setattr(subject, "Builder", lambda *_: SimpleNamespace(prepare=prepare))
    asked = []

    def other(name: str, seconds: float) -> Any:
        return lambda bench: (asked.append((name, bench.call)), seconds)[1]

    theirs = {"do_bench_cudagraph": 1e-4, "do_bench": 2e-4, "Timer": 4e-4}
    found = list(
        subject.agreements(
            CASE, device_of(1e-4, 4e-4), {n: other(n, s) for n, s in theirs.items()}, turns=2
        )
    )
    assert prepared == ["eager", "graph"]
    assert [one.ratio for one in found] == [1.0, 0.5, 1.0]
    assert asked == [(name, "eager") for name in theirs for _ in range(2)]
    assert found[0].line() == (
        "paraformer stacked L=4      do_bench_cudagraph           "
        "ours    100 µs, theirs    100 µs, ratio 1.000"
    )
