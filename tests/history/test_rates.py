"""How often the gate is wrong; benchmarks/regression_rates.py prints the whole of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.regression_rates import Cell, histories, ours, rates

pytestmark = pytest.mark.slow

HISTORIES = 200


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("uneven", [0.0, 0.03])
def test_histories_without_a_change_are_called_changed_in_less_than_one_of_a_hundred(
    heavy: bool, uneven: float
) -> None:
    cells = [Cell(commits, 0.05, heavy=heavy, uneven=uneven) for commits in (2, 3, 6, 12)]
    wrong = sum(rates(cell, ours, HISTORIES)[0] * HISTORIES for cell in cells)
    assert wrong <= stats.binom.ppf(0.999, HISTORIES * len(cells), 0.01)


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        (Cell(3, 0.01, factor=1.1), 0.85),
        (Cell(12, 0.02, factor=1.1), 0.85),
        (Cell(12, 0.02, heavy=True, factor=1.1), 0.85),
        (Cell(3, 0.10, factor=2.0), 0.80),
        (Cell(12, 0.15, factor=2.0), 0.90),
    ],
)
def test_a_change_is_named_at_its_commit_and_at_no_other(cell: Cell, named: float) -> None:
    assert rates(cell, ours, 80)[2] >= named


def test_what_all_times_of_a_commit_share_makes_no_difference_while_the_machine_is_calm() -> None:
    for history in histories(Cell(6, 0.03, shift=0.0, factor=1.3), 20):
        shared = np.linspace(-0.2, 0.05, 6)[:, None]
        moved = type(history)(history.logs + shared, history.changed_at)
        assert ours(moved) == ours(history)
