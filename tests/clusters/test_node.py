"""What happens on a node of a cluster: a child process as at home, with all that it needs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.clusters import errand as subject
from paraformer_bench.clusters.errand import (
    errand,
    keep_trace,
    read_plugins,
    run_here,
    survey_here,
)
from paraformer_bench.clusters.mailbox import Mailbox
from paraformer_bench.study import child
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.survey import Survey

Event = dict[str, Any]
READ = "import json, os, sys, time\njob = json.loads(sys.stdin.readline())\n"


@dataclass
class Order:
    """A job that is only JSON."""

    plugins: list[str] = field(default_factory=list)
    more: Event = field(default_factory=dict)

    def to_json(self) -> Event:
        return {"plugins": self.plugins} | self.more


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed in the environment here is changed back."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Event]]:
    """Run an errand whose child runs ``code``; return what was put."""

    def run(code: str, order: Order | None = None, startup: float = 60.0, timeout: float = 60.0):
        monkeypatch.setattr(child, "command", lambda *_: [sys.executable, "-c", READ + code])
        put: list[Event] = []
        order = order or Order()
        plugins = read_plugins(map(Path, order.plugins))
        packed = errand("workers.block", order, plugins, startup, timeout)
        run_here(packed, put.append)
        return put

    return run


def test_events_of_the_child_come_through(run) -> None:
    started, *events = run('print(\'{"event": "ready"}\\n{"event": "done"}\')')
    assert started["event"] == "started"
    assert events == [{"event": "ready"}, {"event": "done"}]


def test_child_that_dies(run) -> None:
    *_, ended = run("sys.exit('no memory')")
    assert ended == {
        "event": "ended",
        "status": "error",
        "reason": "the worker exited with code 1: no memory",
    }


def test_child_that_hangs(run) -> None:
    code = 'print(\'{"event": "ready"}\', flush=True); time.sleep(3600)'
    *_, ready, ended = run(code, timeout=0.01)
    assert ready == {"event": "ready"}
    reason = "no answer within 0.01 s"
    assert ended == {"event": "ended", "status": "timeout", "reason": reason}


def test_plugin_files_travel(run, tmp_path: Path) -> None:
    """They keep their names, which may be the same, and need not be where they were."""
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "net.py")
        paths[-1].write_text(f"{folder} = 1\n")
    code = (
        "files = [[path, open(path).read()] for path in job['plugins']]\n"
        "print(json.dumps({'event': 'done', 'files': files}))"
    )
    *_, done = run(code, Order([str(path) for path in paths]))
    assert [text for _, text in done["files"]] == ["a = 1\n", "b = 1\n"]
    assert [Path(path).name for path, _ in done["files"]] == ["net.py", "net.py"]
    assert not any(Path(path).exists() for path, _ in done["files"])
    with pytest.raises(UsageError, match=r"cannot read plugin .*: No such file"):
        read_plugins([tmp_path / "none.py"])


def test_variables_are_those_of_the_command(run) -> None:
    """Ray gives a task as many threads as it has reserved cores: that would be another run."""
    os.environ["OMP_NUM_THREADS"] = "7"
    packed = errand("workers.block", Order(), (), 1.0, 1.0)
    assert packed.variables["OMP_NUM_THREADS"] == "7"
    code = "print(json.dumps({'event': 'done', 'threads': os.environ.get('OMP_NUM_THREADS')}))"
    assert run(code)[-1]["threads"] == "7"
    del os.environ["OMP_NUM_THREADS"]
    packed = errand("workers.block", Order(), (), 60.0, 60.0)
    os.environ["OMP_NUM_THREADS"] = "2"  # on the node
    said: list[Event] = []
    run_here(packed, said.append)
    assert said[-1]["threads"] is None


def test_gpu_that_was_given_is_named(run) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = "3"
    assert run('print(\'{"event": "done"}\')')[0]["gpu"] == "3"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    assert "gpu" not in run('print(\'{"event": "done"}\')')[0]


def test_traces_travel_back(run, tmp_path: Path) -> None:
    code = (
        "os.makedirs(job['folder'] + '/case')\n"
        "open(job['folder'] + '/case/t.gz', 'wb').write(b'trace')\n"
        "for file in ('case/t.gz', None):\n"
        "    print(json.dumps({'event': 'profiled', 'profile': {'file': file}}))\n"
        "print(json.dumps({'event': 'done', 'folder': job['folder']}))"
    )
    _, taken, none, done = run(code, Order(more={"folder": str(tmp_path)}))
    assert done["folder"] != str(tmp_path)
    for event in (taken, none):
        keep_trace(event, tmp_path)
        assert "trace" not in event
    assert (tmp_path / "case" / "t.gz").read_bytes() == b"trace"


def test_survey_names_plugins_as_they_are_known_at_home(
    monkeypatch: pytest.MonkeyPatch, survey_of: Callable[[], Survey]
) -> None:
    seen: list[Path] = []

    def take(paths: list[Path]) -> Survey:
        seen.extend(paths)
        if b"bad" in paths[0].read_bytes():
            raise UsageError(f"plugin {paths[0]} failed: NameError: bad")
        return survey_of()

    monkeypatch.setattr(subject, "take_survey", take)
    assert survey_here((("net.py", b"good"),), {}) == survey_of()
    assert survey_here((("net.py", b"bad"),), {}) == "plugin net.py failed: NameError: bad"
    assert not any(path.exists() for path in seen)


def test_mailbox_hands_out_each_event_once_and_in_order() -> None:
    async def talk() -> list[list[tuple[int, Event]]]:
        box = Mailbox()
        early = asyncio.ensure_future(box.take(60.0))
        await asyncio.sleep(0)  # it waits now
        await box.put(1, {"n": 1})
        first = await early
        for n in (2, 3):
            await box.put(n, {"n": n})
        return [first, await box.take(60.0), await box.take(0.0)]

    assert asyncio.run(talk()) == [[(1, {"n": 1})], [(2, {"n": 2}), (3, {"n": 3})], []]
