"""`LocalWorker` against child processes that misbehave, and `supervise` whatever they do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing

import psutil
import pytest

from paraformer_bench.study import child, job, wire
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import Done, Ended, Event, Ready, Refused
from paraformer_bench.study.job import SurveyJob
from paraformer_bench.workers.supervise import LocalWorker, ask, supervise

Start = Callable[..., LocalWorker]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, job_of, case_of) -> Start:
    """Start a child that runs ``code`` in place of the worker."""

    def start(code: str, cases: int = 1) -> LocalWorker:
        script = (
            "import json, os, signal, sys, time\n"
            "job = json.loads(sys.stdin.readline())\n"
            "def say(word):\n"
            "    print(json.dumps({'event': 'refused', 'message': str(word)}), flush=True)\n"
        )
        command = [sys.executable, "-c", script + code]
        monkeypatch.setattr(child, "command", lambda *arguments: command)
        depths = range(1, cases + 1)
        worker = LocalWorker(job_of([[case_of(depth) for depth in depths]], block=6))
        workers.append(worker)
        return worker

    workers: list[LocalWorker] = []
    yield start
    for worker in workers:
        worker.close()


def word(worker: LocalWorker) -> str:
    event = worker.next_event(60)
    assert isinstance(event, Refused)
    return event.message


def test_job_goes_in_and_events_come_out(start: Start, job_of, case_of) -> None:
    worker = start('say(json.dumps(job)); print(\'{"event": "done"}\')')
    assert wire.decoder(job.ANY).decode(word(worker)) == job_of([[case_of(1)]], block=6)
    assert worker.next_event(60) == Done()
    assert worker.next_event(60) is None
    assert worker.close() == "the worker exited with code 0"
    assert worker.close() == "the worker exited with code 0"


def test_events_cut_in_pieces_and_glued_together(start: Start) -> None:
    worker = start(
        "w = lambda data: os.write(1, data)\n"
        'a = b\'{"event": "done"}\\n\'\n'
        "w(a[:6]); time.sleep(0.05); w(a[6:] + a + a[:9]); time.sleep(0.05)\n"
        "w(a[9:] + b'{\"torn'); os._exit(5)"
    )
    assert [worker.next_event(60) for _ in range(3)] == [Done()] * 3
    assert worker.next_event(60) is None
    assert worker.close() == "the worker exited with code 5"


def test_big_job_and_big_event(start: Start) -> None:
    """Both are larger than a pipe holds."""
    worker = start("say(str(len(job['groups'][0])) + 'x' * 10**6)", 2000)
    assert word(worker) == "2000" + "x" * 10**6


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("sys.exit(3)", "the worker exited with code 3"),
        ("print('words', file=sys.stderr); os._exit(1)", "the worker exited with code 1: words"),
        ("raise ValueError('no')", "the worker exited with code 1: ValueError: no"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the worker was killed by SIGSEGV"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "the worker was killed by SIGKILL (by the system, if memory ran out)",
        ),
        (
            "os.write(2, b'\\xff' * 9000); os._exit(1)",
            "the worker exited with code 1: " + "�" * 500,
        ),
    ],
)
def test_how_it_ended(start: Start, code: str, ending: str) -> None:
    worker = start(code)
    assert worker.next_event(60) is None
    assert worker.close() == ending


def test_silence_is_a_timeout_and_the_child_is_stopped(start: Start) -> None:
    worker = start("say(os.getpid()); time.sleep(3600)")
    pid = int(word(worker))
    with pytest.raises(TimeoutError):
        worker.next_event(0.01)
    assert worker.close() == "the worker was stopped"
    assert not psutil.pid_exists(pid)


def test_child_that_still_talks_is_stopped_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unread events are no sign that it is about to end: nobody waits for it (Ctrl-C)."""
    worker = start("say('a'); say('b'); time.sleep(3600)")
    word(worker)
    waits = []
    wait = worker._process.wait

    def note(timeout: float | None = None) -> int:
        waits.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(worker._process, "wait", note)
    assert worker.close() == "the worker was stopped"
    assert waits == [0, None]


def test_what_the_child_started_ends_with_it(start: Start) -> None:
    worker = start(
        "import subprocess\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
        "say(other.pid); time.sleep(3600)"
    )
    other = psutil.Process(int(word(worker)))
    worker.close()
    _, alive = psutil.wait_procs([other], timeout=10)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_child_that_never_reads_its_job(monkeypatch: pytest.MonkeyPatch, job_of, case_of) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.close(); sys.exit(9)"]
    monkeypatch.setattr(child, "command", lambda *arguments: command)
    worker = LocalWorker(job_of([[case_of(depth) for depth in range(1, 2000)]]))
    assert worker.next_event(60) is None
    assert worker.close() == "the worker exited with code 9"


def test_ctrl_c_does_not_reach_the_child(start: Start) -> None:
    """It is in a session of its own: a terminal's Ctrl-C is for the parent."""
    worker = start("say(os.getpgrp()); say(os.getsid(0))")
    assert int(word(worker)) != os.getpgrp()
    assert int(word(worker)) != os.getsid(0)


class Canned:
    """A worker that says what a test hands in; an exception is raised."""

    def __init__(self, *said: Event | BaseException) -> None:
        self._said = iter(said)
        self.patience: list[float] = []
        self.closed = 0

    def next_event(self, seconds: float) -> Event | None:
        self.patience.append(seconds)
        event = next(self._said, None)
        if isinstance(event, BaseException):
            raise event
        return event

    def close(self) -> str:
        self.closed += 1
        return "the worker exited with code 9"


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ([Ready(), Done()], Done()),
        ([Ready(), Done(), Ready()], Done()),
        ([Ready()], Ended(status="error", reason="the worker exited with code 9")),
        ([], Ended(status="error", reason="the worker exited with code 9")),
        ([Ready(), TimeoutError()], Ended(status="timeout", reason="no answer within 2 s")),
        ([TimeoutError()], Ended(status="timeout", reason="no answer within 5 s")),
        (
            [Ready(), wire.Malformed("no JSON")],
            Ended(status="error", reason="the worker does not make sense: no JSON"),
        ),
    ],
)
def test_what_is_heard_ends_with_how_it_ended(said: list, last: Event) -> None:
    worker = Canned(*said)
    heard = list(supervise(worker, startup_seconds=5, timeout_seconds=2))
    assert heard == [event for event in said[:1] if event == Ready()] + [last]
    assert worker.patience[:1] == [5]
    assert set(worker.patience[1:]) <= {2}
    assert worker.closed


def test_a_worker_is_closed_however_it_is_left() -> None:
    worker = Canned(Ready(), KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(supervise(worker, 5, 2))
    assert worker.closed == 1
    worker = Canned(Ready(), Ready(), Ready())
    with closing(supervise(worker, 5, 2)) as events:
        next(events)
        assert not worker.closed
    assert worker.closed == 1


def test_ask_returns_what_was_said() -> None:
    assert ask(SurveyJob(), lambda job: Canned(Ready(), Done()), "look") == [Ready()]
    assert ask(SurveyJob(), lambda job: Canned(Done()), "look") == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([], "^cannot look: the worker exited with code 9$"),
        ([Ready()], "^cannot look: the worker exited with code 9$"),
        ([TimeoutError()], "^cannot look: no answer within 120 s$"),
        ([Refused(message="plugin x.py has a syntax error")], "^plugin x.py has a syntax error$"),
    ],
)
def test_ask_says_why_there_is_no_answer(said: list, message: str) -> None:
    worker = Canned(*said)
    with pytest.raises(UsageError, match=message):
        ask(SurveyJob(), lambda job: worker, "look")
    assert worker.closed
