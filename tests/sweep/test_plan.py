from __future__ import annotations

from itertools import groupby

import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.sweep.plan import block_groups


@pytest.fixture
def cases(case_of) -> list[Case]:
    """Four regimes of two models at four depths, regime by regime."""
    return [
        case_of(depth, model=model, width=width, batch=batch, heads=width // 64)
        for width in (64, 128)
        for batch in (1, 8)
        for model in ("serial", "paraformer")
        for depth in (1, 2, 4, 8)
    ]


def flat(groups: list[list[Case]]) -> list[Case]:
    return [case for group in groups for case in group]


def test_every_case_is_visited_once(cases: list[Case]) -> None:
    for block in range(5):
        visited = flat(block_groups(cases, block, seed=3))
        assert len(visited) == len(cases)
        assert set(visited) == set(cases)


def test_same_seed_and_block_give_the_same_order(cases: list[Case]) -> None:
    assert block_groups(cases, 2, seed=3) == block_groups(cases, 2, seed=3)
    assert block_groups(cases, 2, seed=3) != block_groups(cases, 2, seed=4)


def test_order_differs_from_block_to_block(cases: list[Case]) -> None:
    orders = [tuple(flat(block_groups(cases, block, seed=3))) for block in range(20)]
    assert len(set(orders)) == 20
    # Groups and the cases within one are both shuffled.
    assert len({order[0].group for order in orders}) == 4
    first = {tuple(c for c in order if c.group == cases[0].group) for order in orders}
    assert len(first) > 15


def test_what_is_compared_stays_together(cases: list[Case]) -> None:
    for block in range(5):
        groups = block_groups(cases, block, seed=3)
        assert [len(group) for group in groups] == [8] * 4
        assert all(len({case.group for case in group}) == 1 for group in groups)
        assert len(list(groupby(flat(groups), key=lambda case: case.group))) == 4


def test_a_case_has_no_favourite_place(cases: list[Case]) -> None:
    """Over many blocks every case of a group is visited first about equally often."""
    group = cases[:8]
    first = [block_groups(group, block, seed=3)[0][0] for block in range(800)]
    counts = [first.count(case) for case in group]
    assert sum(counts) == 800
    assert min(counts) >= 65  # 100 are expected, with a standard deviation of 9.4
    assert max(counts) <= 135
