"""What a verdict would be without the records whose times may be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from paraformer_bench.analysis.claim import Verdict, judge
from paraformer_bench.analysis.words import more_blocks, sentences
from paraformer_bench.study.record import FLAGS, SPOILING, Record
from paraformer_bench.study.run_folder import RunInfo

MakeCurve = Callable[..., list[Record]]
WOBBLE = (0.99, 1.0, 1.01, 1.0)


@pytest.fixture
def burst(make_curve: MakeCurve) -> list[Record]:
    """Flat, but for the last two of six blocks, in which a neighbour slowed the deep net down."""
    flat = [*WOBBLE, 1.0, 1.0]
    return make_curve({1: flat, 2: flat, 4: [*WOBBLE, 1.5, 1.6]})


def flag(records: list[Record], name: str) -> list[Record]:
    for record in records:
        if record.block >= 4:
            record.flags = [name]
    return records


def only(records: list[Record], basis: str = "wall") -> Verdict:
    [verdict] = [v for v in judge(records) if v.basis == basis]
    return verdict


@pytest.mark.parametrize("name", sorted(SPOILING - {"queue_dry"}))
def test_both_verdicts_are_there(burst: list[Record], name: str) -> None:
    verdict = only(flag(burst, name))
    assert (verdict.verdict, verdict.blocks) == ("inconclusive", 6)
    assert verdict.differs_without_flagged
    other = verdict.without_flagged
    assert other is not None
    assert (other.verdict, other.constant_up_to) == ("constant", 4)
    assert (other.records, other.blocks) == (6, 4)
    entry = json.loads(json.dumps(verdict.flat()))["without_flagged"]
    assert (entry["verdict"], entry["constant_up_to"]) == ("constant", 4)
    assert entry["worst"]["to"] > entry["worst"]["from"]


def test_wide_intervals_are_not_wrong_ones(burst: list[Record]) -> None:
    assert FLAGS.keys() - SPOILING == {"unconverged", "too_few_samples"}
    for name in FLAGS.keys() - SPOILING:
        assert only(flag(burst, name)).without_flagged is None
    assert not only(burst).differs_without_flagged
    assert only(burst).flat()["without_flagged"] is None


def test_a_dry_queue_spoils_device_time_alone(make_curve: MakeCurve) -> None:
    times = {L: [1.0] * 6 for L in (1, 2)}
    records = flag(make_curve(times, times, device="cuda:0"), "queue_dry")
    assert only(records, "wall").without_flagged is None
    assert only(records, "device").without_flagged is not None


def test_a_verdict_that_stands_does_not_differ(make_curve: MakeCurve) -> None:
    verdict = only(flag(make_curve({L: [1.0] * 6 for L in (1, 2)}), "drift"))
    assert verdict.without_flagged is not None
    assert not verdict.differs_without_flagged


def test_too_little_may_be_left(burst: list[Record]) -> None:
    for record in burst:
        record.flags = ["drift"] if record.block else []
    other = only(burst).without_flagged
    assert other is not None
    assert (other.verdict, other.constant_up_to, other.worst) == (None, None, None)
    assert (other.records, other.blocks) == (15, 1)
    assert not only(burst).differs_without_flagged
    assert "flagged" not in sentences(judge(burst), RunInfo())[0]


def test_a_curve_gains_nothing_by_a_depth_it_lost(burst: list[Record]) -> None:
    for record in burst:
        record.flags = ["drift"] if record.case.depth == 4 else []
    other = only(burst).without_flagged
    assert other is not None
    assert (other.verdict, other.records, other.blocks) == (None, 6, 6)


def test_the_sentence_says_so_where_the_answer_changes(burst: list[Record]) -> None:
    [sentence] = sentences(judge(flag(burst, "cpu_busy")), RunInfo())
    assert "is not settled yet" in sentence
    assert sentence.endswith("; without flagged records it is constant with depth.")
    for record in burst:
        record.flags = []
    assert "flagged" not in sentences(judge(burst), RunInfo())[0]


def test_blocks_that_would_settle_open_curves(make_curve: MakeCurve) -> None:
    assert more_blocks(judge(make_curve({1: [1.0] * 4, 2: [1.0] * 4}))) is None
    one = make_curve({1: [1.0, 1.0], 2: [1.0, 1.1]})
    blocks, sentence = more_blocks(judge(one)) or (0, "")
    assert sentence == f"1 curve is not settled: about {blocks} blocks in all would settle it"
    [verdict] = judge(one)
    assert blocks == verdict.blocks_to_settle
    worse = make_curve({1: [1.0, 1.0], 2: [1.0, 1.14]}, batch=3)
    hopeless = make_curve({1: [1.0], 2: [1.0]}, batch=4)
    most, sentence = more_blocks(judge([*one, *worse, *hopeless])) or (0, "")
    assert most > blocks
    assert sentence == (
        f"3 curves are not settled: about {blocks} blocks in all would settle half of them, "
        f"{most} blocks in all would settle 2 of them"
    )
    assert more_blocks(judge(hopeless)) is None
