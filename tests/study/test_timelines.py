from __future__ import annotations

import pytest

from paraformer_bench.study import wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.timelines import Profile, choose


def case(depth: int, execution: str = "loop") -> Case:
    return Case.of(
        model="paraformer",
        execution=execution,
        runtime="eager",
        depth=depth,
        width=64,
        batch=1,
        image=64,
        patch=16,
        heads=1,
        branch_depth=1,
        dtype="float32",
        device="cpu",
    )


CASES = [case(4), case(1, "stacked"), case(1), case(2, "stacked"), case(2), case(8, "vmap")]


def test_no_case() -> None:
    assert choose(CASES, "none") == []


def test_both_ends_of_each_curve() -> None:
    stacked = [case(1, "stacked"), case(2, "stacked")]
    assert choose(CASES, "ends") == [case(1), case(4), *stacked, case(8, "vmap")]


def test_none_of_several_devices() -> None:
    spread = case(1, "sharded").replace(devices=2)
    assert choose([spread, case(2)], "all") == [case(2)]


def test_all_of_each_curve() -> None:
    assert choose(CASES, "all")[:3] == [case(1), case(2), case(4)]
    assert set(choose(CASES, "all")) == set(CASES)


def test_profile_survives_json_and_newer_versions() -> None:
    profile = Profile(
        file="a/b",
        steps=8,
        bytes=1000,
        seconds_per_call_profiled=0.03,
        seconds_per_call_unprofiled=0.02,
    )
    data = profile.plain()
    assert wire.convert(data | {"newer": 1}, Profile) == profile
    assert data["slowdown"] == pytest.approx(1.5)


def test_slowdown_needs_both_times() -> None:
    assert Profile(seconds_per_call_profiled=0.03).slowdown is None
    assert Profile(reason="it died").plain()["slowdown"] is None
