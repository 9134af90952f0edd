"""What a rank says is an answer only if it says how an order went."""

from __future__ import annotations

import pytest

from paraformer_bench.ranks.follower import Answer
from paraformer_bench.study import wire
from paraformer_bench.study.events import Refused


@pytest.mark.parametrize("line", [b"", wire.encode(Refused(message="no such plugin"))])
def test_what_is_no_answer_is_not_taken_for_success(line: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode(line, Answer)


def test_an_answer_comes_back() -> None:
    answer = Answer("oom", "full")
    assert wire.decode(wire.encode(answer), Answer) == answer
