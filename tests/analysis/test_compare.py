from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from paraformer_bench.analysis.compare import compare
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

pytestmark = pytest.mark.filterwarnings("error")
Curve = Callable[..., list[Record]]
MakeRun = Callable[..., Run]


def blocks(time: float, noise: float = 0.01, count: int = 8, seed: int = 0) -> list[float]:
    errors = np.random.default_rng(seed).normal(0, noise, count)
    return [float(value) for value in time * np.exp(errors - errors.mean())]


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [
        (1.0, 0.01, "SAME"),
        (1.01, 0.005, "SAME"),
        (1.2, 0.01, "SLOWER"),
        (1 / 1.2, 0.01, "FASTER"),
        (1.05, 0.01, "SLOWER"),
        (1 / 1.05, 0.01, "FASTER"),
        (1.028, 0.01, "UNCLEAR"),  # sure, but perhaps not beyond the threshold
        (1 / 1.028, 0.01, "UNCLEAR"),
        (1.0, 0.2, "UNCLEAR"),
        (1.2, 0.3, "UNCLEAR"),
    ],
)
def test_known_truths(
    make_curve: Curve, make_run: MakeRun, factor: float, noise: float, verdict: str
) -> None:
    a = make_run(make_curve({1: blocks(1.0, noise)}))
    b = make_run(make_curve({1: blocks(factor, noise, seed=1)}))
    (got,) = compare(a, b)
    assert got.verdict == verdict
    assert got.ratio == pytest.approx(factor)
    assert got.low is not None
    assert got.high is not None
    assert got.low < factor < got.high
    assert (got.seconds_a, got.seconds_b) == pytest.approx((1, factor))
    assert (got.basis, got.blocks_a, got.blocks_b) == ("wall", 8, 8)
    assert bool(got.reason) == (verdict == "UNCLEAR")


def test_swapping_the_runs_swaps_the_verdict(make_curve: Curve, make_run: MakeRun) -> None:
    a = make_run(make_curve({1: blocks(1.0), 2: blocks(1.0, seed=3)}))
    b = make_run(make_curve({1: blocks(1.3, seed=1), 2: blocks(1.0, seed=2)}))
    forward, backward = compare(a, b), compare(b, a)
    assert [c.verdict for c in forward] == ["SLOWER", "SAME"]
    assert [c.verdict for c in backward] == ["FASTER", "SAME"]
    for one, other in zip(forward, backward, strict=True):
        assert (one.p_slower, one.p_faster) == pytest.approx((other.p_faster, other.p_slower))
        assert one.ratio is not None
        assert other.ratio == pytest.approx(1 / one.ratio)


def test_the_threshold_decides(make_curve: Curve, make_run: MakeRun) -> None:
    a, b = make_run(make_curve({1: blocks(1.0)})), make_run(make_curve({1: blocks(1.2, seed=1)}))
    assert [c.verdict for c in compare(a, b, threshold=0.1)] == ["SLOWER"]
    assert [c.verdict for c in compare(a, b, threshold=0.3)] == ["SAME"]


def test_many_cases_are_corrected(make_curve: Curve, make_run: MakeRun) -> None:
    wobble = np.exp(np.array([-0.05, 0.05] * 4))

    def first(cases: int) -> tuple[str, float]:
        depths = range(1, cases + 1)
        a = make_curve({d: wobble.tolist() for d in depths})
        b = make_curve({d: (wobble * (1.085 if d == 1 else 1)).tolist() for d in depths})
        got = compare(make_run(a), make_run(b))[0]
        assert got.p_slower is not None
        return got.verdict, got.p_slower

    # Welch by hand: equal variances, so 14 degrees of freedom.
    error = 0.05 * math.sqrt(8 / 7) * math.sqrt(2 / 8)
    assert first(1) == ("SLOWER", pytest.approx(stats.t.sf(math.log(1.085) / error, 14)))
    assert first(2)[1] == pytest.approx(2 * first(1)[1])
    assert first(40)[0] == "UNCLEAR"
    assert first(40)[1] == pytest.approx(2 * first(20)[1], rel=0.1)


def test_device_time_where_both_have_it(make_curve: Curve, make_run: MakeRun) -> None:
    slow, fast = {1: blocks(2.0), 2: blocks(2.0)}, {1: blocks(1.0), 2: blocks(1.0)}
    a, b = make_curve(fast, events=fast), make_curve(slow, events=fast)
    for record in b:
        if record.case.depth == 2:
            record.device_seconds = None
    got = compare(make_run(a), make_run(b))
    assert [(c.basis, c.verdict) for c in got] == [("device", "SAME"), ("wall", "SLOWER")]


def test_cases_of_one_run_only(make_curve: Curve, make_run: MakeRun) -> None:
    a = make_curve({1: blocks(1.0), 2: blocks(1.0)})
    b = make_curve({2: blocks(1.0), 4: blocks(1.0)})
    got = compare(make_run(a), make_run(b))
    assert [c.verdict for c in got] == ["ONLY_A", "SAME", "ONLY_B"]
    assert [c.case_id for c in got] == [a[0].case.id, a[8].case.id, b[8].case.id]
    assert got[0].ratio is None
    assert got[0].basis is None


def test_no_shared_case(make_curve: Curve, make_run: MakeRun) -> None:
    a, b = make_run(make_curve({1: [1.0]}), "here"), make_run(make_curve({2: [1.0]}), "there")
    with pytest.raises(UsageError, match=r"^here and there share no case that was measured$"):
        compare(a, b)


def test_too_little_to_judge(make_curve: Curve, make_run: MakeRun) -> None:
    a = make_curve({1: blocks(1.0), 2: blocks(1.0), 4: blocks(1.0)})
    b = make_curve({1: [2.0], 2: ["oom", "oom"], 4: blocks(2.0)})
    one, none, fine = compare(make_run(a), make_run(b))
    assert (one.verdict, one.blocks_b) == ("UNCLEAR", 1)
    assert (one.ratio, one.low) == pytest.approx((2, None))
    assert "one block in B" in one.reason
    assert (none.verdict, none.ratio, none.p_slower) == ("UNCLEAR", None, None)
    assert none.reason == "no times in B: oom at 2"
    assert fine.verdict == "SLOWER"


def test_exact_repeats(make_curve: Curve, make_run: MakeRun) -> None:
    same = make_run(make_curve({1: [1.0] * 3}))
    assert [c.verdict for c in compare(same, same)] == ["SAME"]
    double = make_run(make_curve({1: [2.0] * 3}))
    assert [c.verdict for c in compare(same, double)] == ["SLOWER"]


@pytest.mark.parametrize("threshold", [0, -1, math.nan, math.inf])
def test_thresholds_that_make_no_sense(
    make_curve: Curve, make_run: MakeRun, threshold: float
) -> None:
    run = make_run(make_curve({1: blocks(1.0)}))
    with pytest.raises(UsageError, match=r"^threshold must be"):
        compare(run, run, threshold=threshold)


def test_what_both_skipped_is_left_out(make_curve: Curve, make_run: MakeRun) -> None:
    a = make_curve({1: blocks(1.0), 2: ["skipped"], 4: ["skipped"], 8: ["oom"]})
    b = make_curve({1: blocks(1.0), 2: ["skipped"], 4: blocks(1.0), 8: ["oom"]})
    got = compare(make_run(a), make_run(b))
    assert [c.verdict for c in got] == ["SAME", "UNCLEAR", "UNCLEAR"]
    assert got[1].reason == "no times in A: skipped at 4"
    with pytest.raises(UsageError, match="share no case that was measured"):
        compare(make_run(a[8:10]), make_run(b[8:9]))


def with_sentinel(records: list[Record], scale: float) -> list[Record]:
    for record in records:
        record.telemetry["sentinel_seconds"] = [scale, 9 * scale, scale * (1 + record.block / 1e4)]
    return records


@pytest.mark.parametrize(("sentinel", "verdict"), [(1.0, "SLOWER"), (1.3, "UNCLEAR")])
def test_a_machine_that_is_slower_is_no_slower_case(
    make_curve: Curve, make_run: MakeRun, sentinel: float, verdict: str
) -> None:
    a = make_run(with_sentinel(make_curve({1: blocks(1.0)}), 1e-3))
    b = make_run(with_sentinel(make_curve({1: blocks(1.3, seed=1)}), 1e-3 * sentinel))
    (forward,), (backward,) = compare(a, b), compare(b, a)
    assert forward.verdict == verdict
    assert backward.verdict == verdict.replace("SLOWER", "FASTER")
    assert ("sentinel" in forward.reason) == (verdict == "UNCLEAR")
    assert forward.ratio == pytest.approx(1.3)  # as it was measured


def test_without_the_sentinel_of_both_times_stand_alone(
    make_curve: Curve, make_run: MakeRun
) -> None:
    a = make_run(make_curve({1: blocks(1.0)}))
    b = make_run(with_sentinel(make_curve({1: blocks(1.3, seed=1)}), 1.3))
    assert [c.verdict for c in compare(a, b)] == ["SLOWER"]


def test_the_sentinel_says_nothing_of_device_time(make_curve: Curve, make_run: MakeRun) -> None:
    slow, fast = {1: blocks(1.3, seed=1)}, {1: blocks(1.0)}
    a = make_run(with_sentinel(make_curve(fast, events=fast), 1.0))
    b = make_run(with_sentinel(make_curve(slow, events=slow), 1.3))
    assert [(c.basis, c.verdict) for c in compare(a, b)] == [("device", "SLOWER")]
