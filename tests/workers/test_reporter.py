from __future__ import annotations

from typing import Any

from paraformer_bench.workers.reporter import Reporter

BEGIN = {"event": "begin", "case_id": "a", "stage": "sample"}
SENTINEL = {"event": "sentinel", "busy_seconds": 1.0}
SAMPLED = {"event": "sampled", "case_id": "a"}


def last_words_after(*events: dict[str, Any]) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []
    reporter = Reporter(sent.append)
    for event in events:
        reporter(event)
    assert sent == list(events)
    reporter.last_words("oom", "rank 3: no memory")
    return sent[len(events) :]


def test_the_case_under_way_is_ended() -> None:
    [event] = last_words_after(BEGIN, SAMPLED, BEGIN | {"case_id": "b"}, SENTINEL)
    assert (event["event"], event["case_id"]) == ("finished", "b")
    assert (event["status"], event["reason"]) == ("oom", "rank 3: no memory")


def test_no_case_is_ended_twice() -> None:
    assert last_words_after(BEGIN, {"event": "finished", "case_id": "a"}) == []
    assert last_words_after(BEGIN, SAMPLED, SENTINEL) == []
    assert last_words_after({"event": "ready"}) == []
