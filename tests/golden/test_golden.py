"""What the committed runs come to is what it was before the package was put into rooms.

The files beside this one say what; `tests.golden.make` made them. Whoever changes a number, a
sentence or a table on purpose makes them anew and reads the difference that this test prints.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from math import isclose
from typing import Any

import pytest

from tests.golden.make import OTHERS, RUNS, report_of, stored

# Verdicts are the same to the last digit on every machine. The latency model is fitted by an
# optimiser, whose last digits depend on the processor: up to 2e-5 of a value on the two we tried.
EXACT = (0.0, 0.0)
FITTED = (1e-4, 1e-6)
SUMS = (1e-9, 1e-12)
# Of all coordinates of a drawing, the sum and that of squares: 20 of them, of some hundred pixels,
# may be rounded to the next tenth.
DRAWN = (2.0, 2_000.0)


@pytest.mark.parametrize("run", RUNS)
def test_a_report_says_what_it_said(run: str) -> None:
    was, now = stored(run), report_of(run)

    assert now.keys() == was.keys()
    problems = [*differences(was["verdicts.json"], now["verdicts.json"], EXACT, "verdicts.json")]
    problems += differences(
        was["predictions.json"], now["predictions.json"], FITTED, "predictions.json"
    )
    if "timelines.json" in was:
        problems += differences(
            was["timelines.json"], now["timelines.json"], EXACT, "timelines.json"
        )
    for page in ("page", "list of runs"):
        problems += of_pages(was[page], now[page])
    assert not problems, "\n".join(problems)


def test_markdown_says_what_it_said() -> None:
    problems = of_texts(stored("markdown"), OTHERS["markdown"](), "markdown")

    assert not problems, "\n".join(problems)


def test_loaded_tables_hold_what_they_held() -> None:
    was, now = stored("tables"), OTHERS["tables"]()

    problems = []
    for run, tables in was.items():
        for name, (rows, columns) in tables.items():
            table = f"{run} {name}"
            assert sorted(now[run][name][1]) == sorted(columns), table
            within = FITTED if name == "predictions" else SUMS
            problems += differences([rows, columns], now[run][name], within, table)
    assert not problems, "\n".join(problems)


def test_comparison_prints_what_it_printed() -> None:
    was, now = stored("comparison"), OTHERS["comparison"]()

    assert now["code"] == was["code"]
    problems = of_texts(was["lines"], now["lines"], "compare")
    assert not problems, "\n".join(problems)


def of_pages(was: list[Any], now: list[Any]) -> Iterator[str]:
    """Say where two pages differ, a line each."""
    headings = [
        [*(section["texts"][0] for section in page if section["texts"])] for page in (was, now)
    ]
    problems = of_texts(*headings, "headings")
    yield from problems
    if problems:
        return
    for before, after in zip(was, now, strict=True):
        where = "".join(before["texts"][:1])
        yield from of_texts(before["texts"], after["texts"], where)
        yield from differences(before["csv"], after["csv"], EXACT, f"{where}, cases.csv")
        for old, new in zip(before["drawings"], after["drawings"], strict=False):
            if old[1] != new[1] or any(
                abs(a - b) > most for a, b, most in zip(old[2:], new[2:], DRAWN, strict=True)
            ):
                yield f"{where}: drawn otherwise: {old} is {new}"


def of_texts(was: list[str], now: list[str], where: str) -> list[str]:
    """Say which texts are gone and which are new."""
    lines = difflib.unified_diff(was, now, lineterm="", n=0)
    return [f"{where}: {line}" for line in lines if line[:3] not in ("---", "+++")]


def differences(was: Any, now: Any, within: tuple[float, float], where: str) -> Iterator[str]:
    """Say where two values of JSON differ, a line each.

    Args:
        was: The one.
        now: The other.
        within: Relative and absolute difference that floats may have.
        where: What they are, for the line.
    """
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(key for key in now if key not in was)]:
            if key in was and key in now:
                yield from differences(was[key], now[key], within, f"{where} {key}")
            else:
                yield f"{where} {key}: {'gone' if key in was else 'new'}"
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for place, (old, new) in enumerate(zip(was, now, strict=True)):
            yield from differences(old, new, within, f"{where} {place}")
    elif isinstance(was, float) and isinstance(now, float):
        if not isclose(was, now, rel_tol=within[0], abs_tol=within[1]):
            yield f"{where}: {was} is {now}"
    elif was != now or type(was) is not type(now):
        yield f"{where}: {str(was)[:200]} is {str(now)[:200]}"
