from __future__ import annotations

import math

import pytest

from paraformer_bench.study import checks
from paraformer_bench.study.errors import UsageError, unknown_name


@pytest.mark.parametrize("value", [1, 7, 10])
def test_whole_returns_the_value(value: int) -> None:
    assert checks.whole(value, "it", 1, 10) == value


@pytest.mark.parametrize("value", [0, 11, -1, 1.0, True, False, "1", None, [1], math.nan])
def test_whole_refuses(value: object) -> None:
    with pytest.raises(UsageError, match=r"^it must be a whole number from 1 to 10, not "):
        checks.whole(value, "it", 1, 10)


@pytest.mark.parametrize("value", [1, 0.5, 1e-9])
def test_number_returns_a_float(value: float) -> None:
    result = checks.number(value, "it", 0, 2)
    assert result == value
    assert type(result) is float


@pytest.mark.parametrize("value", [0, 2, -1, math.nan, math.inf, -math.inf])
def test_number_lies_strictly_between(value: float) -> None:
    with pytest.raises(UsageError, match=r"^it must be above 0 and below 2, not "):
        checks.number(value, "it", 0, 2)


@pytest.mark.parametrize("value", ["1", None, True, [1.0]])
def test_number_refuses_other_types(value: object) -> None:
    with pytest.raises(UsageError, match=r"^it must be a number, not "):
        checks.number(value, "it", 0, 2)


def test_choice() -> None:
    assert checks.choice("loop", "execution", ("loop", "vmap")) == "loop"
    with pytest.raises(UsageError, match=r"^unknown execution 'lop': did you mean 'loop'"):
        checks.choice("lop", "execution", (name for name in ("loop", "vmap")))
    with pytest.raises(UsageError, match=r"^execution must be text, not 1"):
        checks.choice(1, "execution", ("loop",))


def test_keys() -> None:
    checks.keys({}, "[claim]", ("margin",))
    checks.keys({"margin": 0}, "[claim]", ("margin",))
    with pytest.raises(
        UsageError, match=r"^unknown key in \[claim\] 'magin': did you mean 'margi"
    ):
        checks.keys({"margin": 0, "magin": 0}, "[claim]", ("margin",))


def test_unknown_name_suggests_only_what_is_near() -> None:
    assert str(unknown_name("model", "xyz", ["b", "a"])) == "unknown model 'xyz': known: a, b"
    assert str(unknown_name("model", "xyz", [])) == "unknown model 'xyz': known: none"
