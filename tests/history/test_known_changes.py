"""Histories whose truth is known, through files, order and judgement."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.history.changes import IMPROVEMENT, REGRESSION, SMALL, Judgement
from paraformer_bench.history.judge import look


@pytest.fixture
def judged(asv: Any, truths: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a history and judge it."""
    monkeypatch.chdir(tmp_path)  # no repository: dates order the commits

    def judged(commits: int, threshold: float = 0.05, last: Any = None, **known: Any) -> Judgement:
        truths.history(asv, commits, **known)
        return look(asv.path, None, threshold, last, None)[0]

    return judged


def told(judgement: Judgement) -> dict[tuple[int, str], str]:
    """Verdict by number of the commit and benchmark."""
    return {
        (int(change.commit.hash[:8], 16) - 1, change.name.benchmark): change.verdict
        for change in judgement.changes
    }


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.15])
@pytest.mark.parametrize("commits", [2, 3, 12])
def test_nothing_changed(judged: Any, commits: int, noise: float) -> None:
    judgement = judged(commits, noise=noise)
    assert judgement.changes == []
    assert len(judgement.tracks) == 17
    assert judgement.gaps == []


@pytest.mark.parametrize("commits", [3, 6, 30])
def test_a_third_of_the_times_slower_and_twice_the_memory(judged: Any, commits: int) -> None:
    slow, large = commits // 3, 2 * commits // 3
    judgement = judged(commits, noise=0.01, slower={slow: 1.1}, memory={large: 2.0})
    assert told(judgement) == {
        (slow, "latency.track_time"): REGRESSION,
        (large, "memory.track_peak"): REGRESSION,
    }
    times = [c for c in judgement.changes if c.name.benchmark == "latency.track_time"]
    assert {dict(change.name.params)["execution"] for change in times} == {"'stacked'"}
    assert len(times) == 4
    for change in judgement.changes:
        truth = 1.1 if change.kind == "time" else 2.0
        assert change.low <= change.ratio <= change.high
        assert change.ratio == pytest.approx(truth, rel=0.03)
        assert change.low < truth * 1.01
        assert change.high > truth * 0.99
        assert change.after / change.before == pytest.approx(change.ratio)


def test_the_machine_moving_is_no_change_while_a_third_slower_at_the_same_commit_is(
    judged: Any,
) -> None:
    moved = {2: 1.2, 4: 0.7}
    assert judged(6, noise=0.01, shifts=moved).changes == []
    judgement = judged(6, noise=0.01, shifts=moved, slower={4: 1.1})
    assert told(judgement) == {(4, "latency.track_time"): REGRESSION}
    ratios = {m.commit.hash[:8]: m.ratio for m in judgement.moved}
    assert ratios["00000003"] == pytest.approx(1.2, rel=0.03)
    assert ratios["00000005"] == pytest.approx(0.7, rel=0.03)


def test_getting_better_is_an_improvement(judged: Any) -> None:
    judgement = judged(6, noise=0.01, slower={3: 0.5})
    assert told(judgement) == {(3, "latency.track_time"): IMPROVEMENT}
    assert judgement.regressions == []


def test_worse_and_better_again_are_two_changes(judged: Any) -> None:
    judgement = judged(12, noise=0.01, slower={4: 1.5, 8: 1 / 1.5})
    assert told(judgement) == {
        (4, "latency.track_time"): REGRESSION,
        (8, "latency.track_time"): IMPROVEMENT,
    }


def test_counts_have_no_threshold_and_no_interval(judged: Any) -> None:
    judgement = judged(4, parameters={2: 1001})
    (change,) = judgement.changes
    assert (change.verdict, change.kind) == (REGRESSION, "exact")
    assert change.low == change.ratio == change.high == 1001 / 1000
    assert (change.before, change.after) == (1000, 1001)


def test_a_sure_change_below_the_threshold_is_no_regression(judged: Any) -> None:
    known = {"noise": 0.002, "slower": {3: 1.03}}
    assert told(judged(6, **known)) == {(3, "latency.track_time"): SMALL}
    assert told(judged(6, threshold=0.01, **known)) == {(3, "latency.track_time"): REGRESSION}


def test_only_the_last_commits_are_told_of(judged: Any) -> None:
    known: dict[str, Any] = {"noise": 0.01, "slower": {3: 1.5}, "memory": {7: 2.0}}
    assert set(told(judged(9, **known))) == {(3, "latency.track_time"), (7, "memory.track_peak")}
    assert set(told(judged(9, last=2, **known))) == {(7, "memory.track_peak")}


def test_without_samples_the_quartiles_stand_for_them(judged: Any) -> None:
    judgement = judged(6, noise=0.01, slower={3: 1.1}, keep_samples=False)
    assert told(judgement) == {(3, "latency.track_time"): REGRESSION}
    assert judged(6, noise=0.05, shifts={3: 1.2}, keep_samples=False).changes == []


def test_a_commit_on_which_the_machine_ran_wild_names_nothing(
    asv: Any, truths: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every time of one commit is off by up to half, each by another factor."""
    monkeypatch.chdir(tmp_path)
    truths.history(asv, 5, noise=0.01)
    factors = [math.exp(0.4 * math.sin(7 * k)) for k in range(12)]
    rng = random.Random(3)
    times = [
        [1e-3 * (k + 1) * factors[k] * math.exp(rng.gauss(0, 0.1)) for _ in range(8)]
        for k in range(12)
    ]
    params = {"execution": ["'loop'", "'vmap'", "'stacked'"], "depth": ["1", "4", "16", "64"]}
    asv.write(5, {"latency.track_time": ("seconds", params, times)})
    judgement = look(asv.path, None, 0.05, None, None)[0]
    assert [change for change in judgement.changes if change.kind == "time"] == []


def test_beside_a_sentinel_most_times_slower_is_the_code(
    judged: Any, asv: Any, truths: Any, tmp_path: Path
) -> None:
    """All 12 times move: with the sentinel, the machine did; without it, the code."""

    def verdicts(sentinel_too: bool) -> tuple[set[tuple[int, str]], set[float]]:
        folder = truths.folder(tmp_path / str(sentinel_too))
        rng = random.Random(5)
        for number in range(8):
            factor = 1.3 if number >= 5 else 1.0
            times = [
                [1e-3 * (k + 1) * factor * math.exp(rng.gauss(0, 0.01)) for _ in range(8)]
                for k in range(12)
            ]
            machine = factor if sentinel_too else 1.0
            still = [2e-3 * machine * math.exp(rng.gauss(0, 0.01)) for _ in range(8)]
            depths = {"depth": [str(k) for k in range(12)]}
            folder.write(
                number,
                {
                    "nets.track_latency": ("seconds", depths, times),
                    "machine.track_sentinel": ("seconds", {}, [still]),
                },
            )
        judgement = look(folder.path, None, 0.05, None, None)[0]
        return set(told(judgement)), {round(c.ratio, 1) for c in judgement.changes}

    assert verdicts(sentinel_too=True) == (set(), set())
    assert verdicts(sentinel_too=False) == ({(5, "nets.track_latency")}, {1.3})


@pytest.mark.parametrize(("restless", "named"), [(0.02, {3}), (0.5, set())])
def test_times_of_another_minute_are_believed_as_far_as_the_machine_was_at_rest(
    asv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restless: float, named: set[int]
) -> None:
    """asv timed the import before the sweep, three times slower; blocks of the sweep moved too."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(9)
    for number in range(5):
        speeds = [math.exp(rng.gauss(0, restless)) for _ in range(8)]
        times = [
            [1e-3 * (k + 1) * speed * math.exp(rng.gauss(0, 0.01)) for speed in speeds]
            for k in range(12)
        ]
        depths = {"depth": [str(k) for k in range(12)]}
        imported = [
            (0.1 if number >= 3 else 0.03) * math.exp(rng.gauss(0, 0.02)) for _ in range(8)
        ]
        asv.write(
            number,
            {
                "nets.track_latency": ("seconds", depths, times),
                "cost.timeraw_import": ("seconds", {}, [imported]),
            },
        )
    judgement = look(asv.path, None, 0.05, None, None)[0]
    assert {number for number, _ in told(judgement)} == named
    assert {change.name.benchmark for change in judgement.changes} <= {"cost.timeraw_import"}
