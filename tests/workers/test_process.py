"""What a child process says, and what it says last."""

from __future__ import annotations

from paraformer_bench.study.events import Event, Finished, Ready, Sentinel
from paraformer_bench.workers.process import Reporter
from tests.simulated import Events, case_of

ONE, TWO = case_of(1), case_of(2)
BEGIN, SENTINEL, SAMPLED = (
    Events.begin(ONE),
    Sentinel(busy_seconds=1.0),
    Events.sampled(ONE, [1.0]),
)


def last_words_after(*events: Event) -> list[Event]:
    sent: list[Event] = []
    reporter = Reporter(sent.append)
    for event in events:
        reporter(event)
    assert sent == list(events)
    reporter.last_words("oom", "rank 3: no memory")
    return sent[len(events) :]


def test_the_case_under_way_is_ended() -> None:
    [event] = last_words_after(BEGIN, SAMPLED, Events.begin(TWO), SENTINEL)
    assert event == Finished(case_id=TWO.id, status="oom", reason="rank 3: no memory")


def test_no_case_is_ended_twice() -> None:
    assert last_words_after(BEGIN, Events.finished(ONE)) == []
    assert last_words_after(BEGIN, SAMPLED, SENTINEL) == []
    assert last_words_after(Ready()) == []
