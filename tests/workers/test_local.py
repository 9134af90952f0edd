"""`LocalWorker` against child processes that misbehave."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import psutil
import pytest

from paraformer_bench.study import child
from paraformer_bench.study.job import Job
from paraformer_bench.workers.local import LocalWorker

Start = Callable[..., LocalWorker]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, job_of, case_of) -> Start:
    """Start a child that runs ``code`` in place of the worker."""

    def start(code: str, cases: int = 1) -> LocalWorker:
        script = "import json, os, signal, sys, time\njob = json.loads(sys.stdin.readline())\n"
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


def test_job_goes_in_and_events_come_out(start: Start, job_of, case_of) -> None:
    worker = start('print(json.dumps(job)); print(\'{"event": "done"}\')')
    data = worker.next_event(60)
    assert Job.from_json(data) == job_of([[case_of(1)]], block=6)
    assert worker.next_event(60) == {"event": "done"}
    assert worker.next_event(60) is None
    assert worker.close() == "the worker exited with code 0"
    assert worker.close() == "the worker exited with code 0"


def test_events_cut_in_pieces_and_glued_together(start: Start) -> None:
    worker = start(
        "w = lambda data: os.write(1, data)\n"
        'w(b\'{"a": \'); time.sleep(0.05); w(b\'1}\\n{"b": 2}\\n{"c"\'); time.sleep(0.05)\n'
        "w(b': 3}\\n' + b'{\"torn'); os._exit(5)"
    )
    assert [worker.next_event(60) for _ in range(3)] == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert worker.next_event(60) is None
    assert worker.close() == "the worker exited with code 5"


def test_big_job_and_big_event(start: Start) -> None:
    """Both are larger than a pipe holds."""
    worker = start("print(json.dumps({'job': len(job['groups'][0]), 'x': 'x' * 10**6}))", 2000)
    event = worker.next_event(60)
    assert (event["job"], len(event["x"])) == (2000, 10**6)


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
    worker = start("print('{\"pid\": %d}' % os.getpid(), flush=True); time.sleep(3600)")
    pid = worker.next_event(60)["pid"]
    with pytest.raises(TimeoutError):
        worker.next_event(0.01)
    assert worker.close() == "the worker was stopped"
    assert not psutil.pid_exists(pid)


def test_child_that_still_talks_is_stopped_at_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unread events are no sign that it is about to end: nobody waits for it (Ctrl-C)."""
    worker = start(
        "print('{\"a\": 1}', flush=True); print('{\"b\": 2}', flush=True); time.sleep(3600)"
    )
    worker.next_event(60)
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
        "print(json.dumps({'pid': other.pid}), flush=True); time.sleep(3600)"
    )
    other = psutil.Process(worker.next_event(60)["pid"])
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
    worker = start("print(json.dumps({'group': os.getpgrp(), 'session': os.getsid(0)}))")
    event = worker.next_event(60)
    assert event["group"] != os.getpgrp()
    assert event["session"] != os.getsid(0)
