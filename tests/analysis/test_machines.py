"""Has the machine changed, rather than the code?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from paraformer_bench.analysis.compare import Shift, compare, shift
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Run

Curve = Callable[..., list[Record]]
MakeRun = Callable[..., Run]


def runs(make_curve: Curve, make_run: MakeRun, factor: float, sentinel: float) -> tuple[Run, Run]:
    found = []
    for scale, sentinel_scale in ((1.0, 1.0), (factor, sentinel)):
        records = make_curve({2**k: [scale, 1.01 * scale, 0.99 * scale] for k in range(6)})
        for record in records:
            record.telemetry["sentinel_seconds"] = [s := 1e-3 * sentinel_scale, 9e-3, s]
        found.append(make_run(records))
    return found[0], found[1]


@pytest.mark.parametrize(
    ("factor", "sentinel", "words"),
    [
        (1.01, 1.01, ""),
        (1.05, 1.0, "over all cases the median ratio is 1.050: the machine may have changed"),
        (1.0, 0.9, "the sentinel, a net that never changes, takes 0.900x: the machine may"),
        (1.05, 1.06, "over all cases the median ratio is 1.050 and the sentinel, a net"),
    ],
)
def test_what_moves_together(
    make_curve: Curve, make_run: MakeRun, factor: float, sentinel: float, words: str
) -> None:
    a, b = runs(make_curve, make_run, factor, sentinel)
    found = shift(compare(a, b), a, b)
    assert found.cases == pytest.approx(factor)
    assert found.sentinel == pytest.approx(sentinel)
    assert found.words.startswith(words)
    assert bool(found.words) == bool(words)


def test_few_cases_and_no_sentinel_say_nothing(make_curve: Curve, make_run: MakeRun) -> None:
    a, b = make_run(make_curve({1: [1.0, 1.0]})), make_run(make_curve({1: [2.0, 2.0]}))
    assert shift(compare(a, b), a, b) == Shift(None, None)
    assert Shift(None, None).words == ""
