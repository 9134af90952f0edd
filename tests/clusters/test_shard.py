"""Splitting a sweep: every part of the plan is some shard's, and no other's."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from paraformer_bench.clusters.shard import share, timelines, whole_blocks
from paraformer_bench.study import wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.run_folder import Shard


@pytest.fixture
def cases_of(case_of):
    """Groups of cases: one for each number, with two curves and so many depths."""

    def cases(*depths: int) -> list[Case]:
        return [
            case_of(depth, model=model, batch=batch)
            for batch, count in enumerate(depths, start=1)
            for model in ("serial", "paraformer")
            for depth in range(1, count + 1)
        ]

    return cases


def shards(of: int, blocks: int | None) -> list[Shard]:
    return [Shard(number, of, blocks) for number in range(1, of + 1)]


def loads(of: int, blocks: int, cases: list[Case]) -> list[int]:
    """Cases times blocks that each shard measures."""
    sizes = Counter(case.group for case in cases)
    return [
        sum(sizes[group] for block in range(blocks) for group in share(shard, cases, block))
        for shard in shards(of, blocks)
    ]


def blocks_of(shard: Shard, cases: list[Case], blocks: int) -> list[int]:
    return [block for block in range(blocks) if share(shard, cases, block)]


@pytest.mark.parametrize("sizes", [(4,), (4, 4, 4), (1, 7, 3, 2)])
@pytest.mark.parametrize("blocks", [1, 2, 3, 8, None])
@pytest.mark.parametrize("of", [1, 2, 3, 5, 8, 9, 16, 41])
def test_shards_make_up_the_plan(cases_of, of: int, blocks: int | None, sizes) -> None:
    """Each group of each block has one shard, beyond the planned blocks too."""
    cases = cases_of(*sizes)
    groups = Counter(case.group for case in cases)
    for block in range(3 * (blocks or 8) + 1):
        shares = [share(shard, cases, block) for shard in shards(of, blocks)]
        assert Counter(group for taken in shares for group in taken) == dict.fromkeys(groups, 1)


@pytest.mark.parametrize("of", [1, 2, 3, 5, 8])
def test_a_block_is_whole_where_there_are_enough(cases_of, of: int) -> None:
    cases = cases_of(4, 2, 1)
    everything = {case.group for case in cases}
    for shard in shards(of, 8):
        assert whole_blocks(shard)
        shares = [share(shard, cases, block) for block in range(20)]
        assert set(shares) <= {frozenset(), frozenset(everything)}
        assert blocks_of(shard, cases, 8) != []


@pytest.mark.parametrize(
    ("blocks", "of", "expected"),
    [
        (8, 2, [[0, 1, 4, 5], [2, 3, 6, 7]]),
        (8, 4, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        (7, 4, [[0, 1], [2, 3], [4, 5], [6]]),
        # The last one of an odd number is no pair, and costs no more than it is.
        (5, 2, [[0, 1, 4], [2, 3]]),
        (9, 4, [[0, 1, 8], [2, 3], [4, 5], [6, 7]]),
        # A pair kept whole would give a shard 4 blocks where 3 suffice, or leave one without any.
        (8, 3, [[0, 3, 6], [1, 4, 7], [2, 5]]),
        (6, 4, [[0, 4], [1, 5], [2], [3]]),
        (8, 5, [[0, 5], [1, 6], [2, 7], [3], [4]]),
        (3, 3, [[0], [1], [2]]),
    ],
)
def test_pairs_of_blocks_stay_together_where_that_costs_nothing(
    cases_of, blocks: int, of: int, expected: list[list[int]]
) -> None:
    cases = cases_of(3)
    assert [blocks_of(shard, cases, blocks) for shard in shards(of, blocks)] == expected


def test_pairs_are_divided_only_where_that_is_faster(cases_of) -> None:
    """Against counting what each shard would get."""
    cases = cases_of(1)
    for blocks in range(1, 25):
        for of in range(1, blocks + 1):
            kept = Counter(block // 2 % of for block in range(blocks))
            costs_nothing = len(kept) == of and max(kept.values()) == -(-blocks // of)
            stays = all(
                share(shard, cases, block) == share(shard, cases, block + 1)
                for shard in shards(of, blocks)
                for block in range(0, blocks - 1, 2)
            )
            assert stays == (costs_nothing or of == 1 or blocks == 1), (blocks, of)
            assert max(loads(of, blocks, cases)) == 2 * -(-blocks // of)


def test_a_budget_deals_pairs_of_blocks_without_end(cases_of) -> None:
    found = [blocks_of(shard, cases_of(3), 14) for shard in shards(3, None)]
    assert found == [[0, 1, 6, 7, 12, 13], [2, 3, 8, 9], [4, 5, 10, 11]]


@pytest.mark.parametrize(("blocks", "of"), [(8, 3), (8, 5), (3, 2), (100, 7)])
def test_added_blocks_are_dealt_on(cases_of, blocks: int, of: int) -> None:
    """A shard that is resumed with more blocks keeps those that it has, and none is left out."""
    cases = cases_of(3)
    counts = [len(blocks_of(shard, cases, 3 * blocks)) for shard in shards(of, blocks)]
    assert sum(counts) == 3 * blocks
    assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize("of", range(9, 33))
def test_more_shards_than_blocks_divide_blocks_evenly(cases_of, of: int) -> None:
    found = loads(of, 8, cases_of(3, 3, 3, 3))
    assert sum(found) == 8 * 4 * 6
    assert max(found) == 6 * -(-32 // of)


def test_groups_weigh_what_they_have_of_cases(cases_of) -> None:
    """One block: three groups of 2, 2 and 4 cases in two shards."""
    assert loads(2, 1, cases_of(1, 1, 2)) == [4, 4]


def test_no_shard_is_empty_while_another_has_two_groups(cases_of) -> None:
    """A group of many cases takes no more than one shard."""
    assert loads(3, 1, cases_of(20, 1, 1)) == [40, 2, 2]
    assert loads(2, 1, cases_of(20, 1, 1)) == [40, 4]
    for of in range(4, 13):
        assert min(loads(of, 3, cases_of(7, 1, 5, 1))) > 0


def test_no_two_shards_differ_by_more_than_a_group(cases_of) -> None:
    """Fifteen groups a block as the standard suite has them: 13 of 42 cases, two of 70."""
    cases = cases_of(*[21] * 13, 35, 35)
    for of in (6, 8, 14, 20, 30, 40, 60, 75):
        found = loads(of, 5, cases)
        assert max(found) - min(found) <= 70
    assert max(loads(60, 5, cases)) == 84


def test_blocks_of_a_group_are_spread_over_the_shards(cases_of) -> None:
    cases = cases_of(3, 3, 3)
    for group in {case.group for case in cases}:
        takers = [
            [group in share(shard, cases, block) for shard in shards(9, 8)].index(True)
            for block in range(8)
        ]
        assert len(set(takers)) == 8


def test_more_shards_than_parts_leaves_some_empty(cases_of) -> None:
    found = loads(10, 2, cases_of(3, 3))
    assert found == [6] * 4 + [0] * 6


def test_split_hangs_on_nothing_but_the_cases(cases_of) -> None:
    cases = cases_of(3, 1, 2, 5)
    mixed = random.Random(1).sample(cases, len(cases))
    for shard in shards(11, 4):
        for block in range(4):
            assert share(shard, mixed, block) == share(shard, cases, block)
        assert timelines(shard, mixed, mixed) == timelines(shard, cases, cases)


@pytest.mark.parametrize(("of", "blocks"), [(1, 4), (3, 8), (5, 8), (4, None), (11, 4), (50, 4)])
def test_each_timeline_is_taken_by_one_shard_that_times_the_curve(
    cases_of, of: int, blocks: int | None
) -> None:
    cases = cases_of(3, 1, 2, 5)
    curves = {case.curve_id: case.group for case in cases}
    taken = Counter[str]()
    for shard in shards(of, blocks):
        timed = {g for block in range(blocks or 2 * of) for g in share(shard, cases, block)}
        mine = timelines(shard, cases, cases)
        assert {curves[curve] for curve in mine} <= timed
        taken.update(mine)
    assert taken == dict.fromkeys(curves, 1)


def test_timelines_are_dealt_among_the_shards(cases_of) -> None:
    cases = cases_of(2, 2, 2)
    assert [len(timelines(shard, cases, cases)) for shard in shards(3, 8)] == [2, 2, 2]
    timed = [case for case in cases if case.model == "serial"]  # the others cannot run here
    assert [len(timelines(shard, cases, timed)) for shard in shards(3, 8)] == [1, 1, 1]


@pytest.mark.parametrize("shard", [Shard(2, 5, 8), Shard(1, 1, None)])
def test_round_trip(shard: Shard) -> None:
    assert wire.decode(wire.encode(shard), Shard) == shard


@pytest.mark.parametrize(
    ("field", "value"),
    [("number", 0), ("number", 6), ("number", "2"), ("of", 0), ("of", 1e9), ("blocks", 0)],
)
def test_shard_that_makes_no_sense(field: str, value: object) -> None:
    with pytest.raises(wire.Malformed):
        wire.convert(wire.plain(Shard(2, 5, 8)) | {field: value}, Shard)
