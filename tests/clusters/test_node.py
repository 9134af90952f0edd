"""What happens on a node of a cluster: a child process as at home, with all that it needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from paraformer_bench.clusters.node import NodeTask, Started, run_task
from paraformer_bench.study import wire
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import Begin, Done, Ended, Event, Profiled, Ready, Refused
from paraformer_bench.study.job import BlockJob, Job, ProfileJob, SurveyJob
from paraformer_bench.study.timelines import Profile

Said = list[tuple[Event, bytes]]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed in the environment here is changed back."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


class Child:
    """A worker that says what ``play`` makes of its job, then ends."""

    def __init__(self, play: Callable[[Any], Iterator[Event]]) -> None:
        self._play = play
        self.patience: list[float] = []

    def start(self, job: Job) -> Child:
        self._events = self._play(job)
        return self

    def next_event(self, seconds: float) -> Event | None:
        self.patience.append(seconds)
        return next(self._events, None)

    def close(self) -> str:
        return "the worker exited with code 1: no memory"


def run(job: Job, play: Callable[[Any], Iterator[Event]], **place: str) -> tuple[Said, Child]:
    """Run a task as it arrives at a node; return what was said and the child."""
    child = Child(play)
    sent = wire.encode(NodeTask.of(job, **place))
    return list(run_task(wire.decode(sent, NodeTask), child.start)), child


@pytest.fixture
def block(job_of, case_of) -> BlockJob:
    job: BlockJob = job_of([[case_of(1), case_of(2)]])
    return job


def test_events_of_the_child_come_through(block: BlockJob) -> None:
    jobs = []

    def play(job: Job) -> Iterator[Event]:
        jobs.append(job)
        yield Ready()
        yield Done()

    said, child = run(block, play)
    assert [event for event, _ in said] == [Started(), Ready(), Done()]
    assert jobs == [block]
    assert child.patience == [120.0, block.protocol.timeout_seconds]


def test_child_that_dies(block: BlockJob) -> None:
    [_, (ended, _)], _ = run(block, lambda job: iter(()))
    assert ended == Ended(status="error", reason="the worker exited with code 1: no memory")


def test_child_that_hangs(block: BlockJob) -> None:
    def play(job: Job) -> Iterator[Event]:
        yield Ready()
        raise TimeoutError

    protocol = replace(block.protocol, timeout_seconds=0.5)
    [_, (ready, _), (ended, _)], _ = run(replace(block, protocol=protocol), play)
    assert ready == Ready()
    assert ended == Ended(status="timeout", reason="no answer within 0.5 s")


def test_plugin_files_travel(block: BlockJob, tmp_path: Path) -> None:
    """They keep their names, which may be the same, and need not be where they were."""
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "net.py")
        paths[-1].write_text(f"{folder} = 1\n")
    seen: dict[Path, str] = {}

    def play(job: Job) -> Iterator[Event]:
        seen.update({Path(path): Path(path).read_text() for path in job.plugins})
        yield Done()

    run(replace(block, plugins=[str(path) for path in paths]), play)
    assert list(seen.values()) == ["a = 1\n", "b = 1\n"]
    assert [path.name for path in seen] == ["net.py", "net.py"]
    assert not any(path.exists() for path in seen)
    with pytest.raises(UsageError, match=r"cannot read plugin .*: No such file"):
        NodeTask.of(SurveyJob(plugins=[str(tmp_path / "none.py")]))


def test_plugin_file_stays_what_it_was(block: BlockJob, tmp_path: Path) -> None:
    """An edit in the middle of a run must not make another net of the rest."""
    path = tmp_path / "net.py"
    job = replace(block, plugins=[str(path)])
    path.write_text("a = 1\n")
    first = NodeTask.of(job)
    path.write_text("a = 2\n")
    assert NodeTask.of(job) == first


def test_plugins_are_named_as_they_are_known_at_home(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("bad")

    def play(job: Job) -> Iterator[Event]:
        yield Refused(message=f"plugin {job.plugins[0]} failed: NameError: bad")
        yield Done()

    [_, (refused, _), _], _ = run(SurveyJob(plugins=[str(tmp_path / "net.py")]), play)
    assert refused == Refused(message="plugin net.py failed: NameError: bad")


def test_variables_are_those_of_the_command(block: BlockJob) -> None:
    """Ray gives a task as many threads as it has reserved cores: that would be another run."""
    seen = []

    def play(job: Job) -> Iterator[Event]:
        seen.append(os.environ.get("OMP_NUM_THREADS"))
        yield Done()

    for number in ("7", None):
        os.environ.pop("OMP_NUM_THREADS", None)
        if number:
            os.environ["OMP_NUM_THREADS"] = number
        task = NodeTask.of(block)
        os.environ["OMP_NUM_THREADS"] = "2"  # on the node
        list(run_task(task, Child(play).start))
    assert seen == ["7", None]


def test_events_say_where_they_happened(block: BlockJob) -> None:
    """With the GPU that was given; it is called ``cuda:0`` in the names of cases."""
    for variable, gpu in (("5", {"gpu": "5"}), ("", {})):
        os.environ["CUDA_VISIBLE_DEVICES"] = variable
        begin = Begin(case_id="x", stage="prepare")
        said, _ = run(block, lambda job, b=begin: iter([b, Done()]), host="b", node="2")
        assert said[0] == (Started(), b"")
        assert said[1][0].machine == {"host": "b", "node": "2", **gpu}


def test_traces_travel_back(case_of, tmp_path: Path) -> None:
    folders = []

    def play(job: ProfileJob) -> Iterator[Event]:
        folders.append(Path(job.folder))
        path = Path(job.folder, "case", "t.gz")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"trace")
        yield Profiled(case_id="case", profile=Profile(file="case/t.gz"))
        assert not path.exists()
        yield Profiled(case_id="case", profile=Profile(reason="no"))
        yield Done()

    said, _ = run(ProfileJob(cases=[case_of(1)], folder=str(tmp_path)), play)
    assert [trace for _, trace in said] == [b"", b"trace", b"", b""]
    assert folders[0] != tmp_path
    assert not folders[0].exists()
