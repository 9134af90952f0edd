from __future__ import annotations

from collections.abc import Callable

import pytest

from paraformer_bench.study.cost import Cost
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.registry import ModelTraits
from paraformer_bench.study.survey import Survey, choose_device

SurveyOf = Callable[..., Survey]


def test_device_is_chosen(survey_of: SurveyOf) -> None:
    assert choose_device(survey_of(), None) == "cpu"
    assert choose_device(survey_of(2), None) == "cuda:0"
    assert choose_device(survey_of(2), "cpu") == "cpu"
    assert choose_device(survey_of(2), "cuda:1") == "cuda:1"


@pytest.mark.parametrize(
    ("gpus", "asked", "message"),
    [
        (0, "cuda:0", "torch 2.13.0 sees no CUDA device; use --device cpu"),
        (2, "cuda:2", "there are cuda:0, cuda:1"),
        (2, "cuda", "allowed are cpu and cuda:N"),
        (2, "cuda:", "allowed are cpu and cuda:N"),
        (2, "cuda:x", "allowed are cpu and cuda:N"),
        (2, "CPU", "allowed are cpu and cuda:N"),
        (2, "", "allowed are cpu and cuda:N"),
    ],
)
def test_device_is_refused(survey_of: SurveyOf, gpus: int, asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_device(survey_of(gpus), asked)


@pytest.mark.parametrize(
    ("branches", "cost", "control"),
    [
        (True, Cost("k", "L*F", "L*B"), False),
        (True, Cost("ceil(L / 2)", "L*F", "L*B"), True),
        (False, Cost("k", "L*F", "L*B"), True),
        (False, None, False),
        (True, Cost("n", "L*F", "L*B"), True),  # L / k grows with L too
        (True, Cost("min(L, 4)", "L*F", "L*B"), False),  # and this ends to
    ],
)
def test_a_control_has_no_branches_or_a_span_that_grows(
    branches: bool, cost: Cost | None, control: bool
) -> None:
    assert ModelTraits(name="a", branched=branches, cost=cost).control == control
