from __future__ import annotations

import json
from dataclasses import replace

import pytest
from paraformer_bench.study.profiling import Profile, ProfileJob, choose

from paraformer_bench.study.case import Case


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
    spread = replace(case(1, "sharded"), devices=2)
    assert choose([spread, case(2)], "all") == [case(2)]


def test_all_of_each_curve() -> None:
    assert choose(CASES, "all")[:3] == [case(1), case(2), case(4)]
    assert set(choose(CASES, "all")) == set(CASES)


def test_job_survives_json() -> None:
    job = ProfileJob("cpu", CASES, "a/traces", ["/p.py"], check=True, seconds=0.25)
    assert ProfileJob.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_profile_survives_json_and_newer_versions() -> None:
    profile = Profile("a/b", None, 8, 1000, 0.03, 0.02)
    data = json.loads(json.dumps(profile.to_json()))
    assert Profile.from_json(data | {"newer": 1}) == profile
    assert data["slowdown"] == pytest.approx(1.5)


def test_slowdown_needs_both_times() -> None:
    assert Profile(seconds_per_call_profiled=0.03).slowdown is None
    assert Profile(reason="it died").to_json()["slowdown"] is None
