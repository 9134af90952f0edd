"""What is asked of Ray and what is made of its answers. Ray itself is simulated."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paraformer_bench.clusters.node import Lost, Mailbox, NodeTask, Started, survey_on_node
from paraformer_bench.clusters.ray import LOOK_SECONDS, RayCluster, Slot, connect
from paraformer_bench.study import wire
from paraformer_bench.study.errors import NoDevice, UsageError
from paraformer_bench.study.events import (
    Begin,
    Done,
    Ended,
    Event,
    Profiled,
    Ready,
    Refused,
    Surveyed,
)
from paraformer_bench.study.job import ProfileJob
from paraformer_bench.study.survey import Survey
from paraformer_bench.study.timelines import Profile


class RayError(Exception):
    pass


@dataclass(eq=False)
class Ref:
    """An answer that is there or not."""

    value: Any = None
    there: bool = True
    options: dict[str, Any] = field(default_factory=dict)


class Ray:
    """The module ``ray``, with nodes that a test makes up, and a clock that only waiting moves.

    Attributes:
        table: As `ray.nodes` returns it.
        answers: By node: what its survey says, or how it fails; nothing while it is busy.
        surveys: Those tasks: node and answer.
        tasks: Workers, by number.
        jobs: What was sent to them.
        letters: What the mailbox holds.
        meanwhile: Called while the command waits.
    """

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.now = 0.0
        self.table: list[dict[str, Any]] = []
        self.answers: dict[str, Event | RayError] = {}
        self.surveys: list[tuple[str, Ref]] = []
        self.tasks: dict[int, Ref] = {}
        self.jobs: dict[int, bytes] = {}
        self.letters: list[tuple[int, bytes, bytes]] = []
        self.cancelled: list[Ref] = []
        self.dead = False
        self.meanwhile: Callable[[], None] = lambda: None

    def node(self, name: str, answer: Survey | str | RayError | None, **resources: float) -> None:
        self.table.append({"NodeID": name, "Alive": True, "Resources": resources})
        if answer is not None:
            self.answer(name, answer)

    def answer(self, name: str, answer: Survey | str | RayError) -> None:
        if isinstance(answer, Survey):
            self.answers[name] = Surveyed(survey=answer)
        else:
            self.answers[name] = Refused(message=answer) if isinstance(answer, str) else answer

    def say(self, worker: int, *events: Event, trace: bytes = b"") -> None:
        self.letters += [(worker, wire.encode(event), trace) for event in events]

    def clock(self) -> float:
        return self.now

    def nodes(self) -> list[dict[str, Any]]:
        return self.table

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            def options(**options: Any) -> Any:
                call = {Mailbox: self._mailbox, survey_on_node: self._ask}.get(function, self._run)
                return SimpleNamespace(remote=lambda *arguments: call(options, *arguments))

            return SimpleNamespace(options=options)

        return decorate

    def _mailbox(self, options: dict[str, Any]) -> Any:
        return SimpleNamespace(take=SimpleNamespace(remote=self._take))

    def _run(self, options: dict[str, Any], number: int, data: bytes, mailbox: Any) -> Ref:
        self.jobs[number] = data
        self.tasks[number] = Ref(None, False, options)
        return self.tasks[number]

    def _ask(self, options: dict[str, Any], data: bytes) -> Ref:
        ref = Ref(None, False, options)
        self.surveys.append((options["scheduling_strategy"].node_id, ref))
        return ref

    def _take(self, seconds: float) -> Ref:
        letters = list(self.letters)
        self.letters.clear()
        return Ref(letters)

    def _survey(self) -> None:
        """Let the nodes answer that are asked."""
        for node, ref in self.surveys:
            answer = self.answers.get(node)
            if answer is None or ref.there:
                continue
            ref.there = True
            ref.value = wire.encode(answer) if isinstance(answer, Event) else answer

    def wait(
        self, refs: list[Ref], timeout: float, num_returns: int
    ) -> tuple[list[Ref], list[Ref]]:
        self.now += timeout
        self.meanwhile()
        self._survey()
        if self.dead:
            raise RayError("the head is gone\nand more")
        return [r for r in refs if r.there], [r for r in refs if not r.there]

    def get(self, ref: Ref, timeout: float = 0.0) -> Any:
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value

    def cancel(self, ref: Ref, force: bool) -> None:
        self.cancelled.append(ref)


@dataclass
class Affinity:
    node_id: str
    soft: bool


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=Affinity)
    for name in ("ray", "ray.util"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    return Ray()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cluster(ray: Ray, said: list[str]) -> Callable[..., RayCluster]:
    return lambda text=None: RayCluster(ray, text, said.append, ray.clock)


@pytest.fixture
def host(survey_of: Callable[..., Survey]) -> Callable[..., Survey]:
    """Build the survey of a node."""

    def host(name: str, gpus: int = 0, model: str = "EPYC") -> Survey:
        survey = survey_of(gpus)
        environment = dict(survey.environment)
        environment["host"] = {"name": name, "niceness": 0}
        environment["cpu"] = environment["cpu"] | {"model": model}
        return replace(survey, environment=environment)

    return host


def test_nodes_without_gpus_give_all_their_cores(ray, cluster, host) -> None:
    ray.node("h", None)  # the head runs nothing
    ray.node("a", host("a"), CPU=4.0)
    ray.node("b", host("b"), CPU=4.0)
    nodes = cluster()
    survey = nodes.survey([], None)
    assert (nodes.device, survey.environment["host"]["name"]) == ("cpu", "a")
    assert nodes.slots() == [Slot("a", 0), Slot("b", 0)]
    assert [node for node, _ in ray.surveys] == ["a", "b"]
    for node, ref in ray.surveys:
        expected = {"num_cpus": 4, "scheduling_strategy": Affinity(node, soft=False)}
        assert ref.options == expected


def test_gpus_are_taken_one_by_one(ray, cluster, host, job_of, case_of) -> None:
    ray.node("c", host("c"), CPU=64.0)
    ray.node("g", host("g", gpus=1), CPU=64.0, GPU=8.0)
    nodes = cluster()
    assert nodes.survey([], None).gpus == ["cuda:0"]
    assert nodes.slots() == [Slot("g", number) for number in range(8)]
    nodes.start(Slot("g", 3), job_of([[case_of(1)]]))
    [task] = ray.tasks.values()
    assert task.options == {
        "num_gpus": 1,
        "num_cpus": 8,
        "scheduling_strategy": Affinity("g", soft=False),
    }


def test_cpu_of_nodes_with_gpus(ray, cluster, host) -> None:
    """The GPUs that a survey sees are not offered: none was reserved."""
    ray.node("g", host("g", gpus=2), CPU=16.0, GPU=2.0)
    assert cluster().survey([], "cpu").gpus == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("cuda:0", "device cuda:0 is not there: no node of the cluster has a GPU"),
        ("cuda:1", "with --launcher ray the cluster chooses the GPU.*cuda:1 cannot be asked for"),
        ("tpu", "device tpu cannot be asked for"),
    ],
)
def test_device_that_cannot_be(ray, cluster, host, asked: str, message: str) -> None:
    ray.node("a", host("a"), CPU=4.0)
    with pytest.raises(UsageError, match=message):
        cluster().survey([], asked)


def test_mixture_is_refused_and_can_be_parted(ray, cluster, host) -> None:
    ray.node("a", host("old-1", model="Xeon"), CPU=4.0)
    ray.node("b", host("new-1"), CPU=4.0)
    ray.node("c", host("new-2"), CPU=4.0)
    with pytest.raises(UsageError) as refusal:
        cluster().survey([], None)
    assert str(refusal.value) == (
        "the nodes are of 2 types, and a run holds one, since its records are judged together: "
        "old-1 (CPU model Xeon); new-1, new-2 (CPU model EPYC); choose with --ray-nodes TEXT, a "
        "part of the names of hosts or devices"
    )
    nodes = cluster("NEW-")
    nodes.survey([], None)
    assert [node.host for node in nodes.nodes] == ["new-1", "new-2"]
    with pytest.raises(UsageError, match=r"no node with 'H100' in .*: there are new-1 .EPYC, 4"):
        cluster("H100").survey([], None)


def test_types_differ_by_software_too(ray, cluster, host) -> None:
    ray.node("a", host("a"), CPU=4.0)
    ray.node("b", replace(host("b"), versions={"python": "3.11.7", "torch": "2.6"}), CPU=4.0)
    with pytest.raises(UsageError, match=r"a \(torch 2.13.0\); b \(torch 2.6\)"):
        cluster().survey([], None)


def test_plugin_that_no_node_can_load(ray, cluster, said, tmp_path: Path) -> None:
    ray.node("a", "plugin net.py failed: NameError: x", CPU=4.0)
    (tmp_path / "net.py").write_text("x")
    with pytest.raises(UsageError, match=r"^plugin net.py failed: NameError: x$"):
        cluster().survey([tmp_path / "net.py"], None)
    assert said == []


def test_node_that_cannot_take_part_is_named(ray, cluster, host, said) -> None:
    ray.node("a", host("a"), CPU=4.0)
    ray.node("b", RayError("no such package\nand more"), CPU=4.0)
    nodes = cluster()
    nodes.survey([], None)
    assert said == ["warning: node b is left out: no such package"]
    assert [slot.node for slot in nodes.slots()] == ["a"]


def test_busy_and_new_nodes_join_when_they_answer(ray, cluster, host, said) -> None:
    ray.node("a", host("a"), CPU=4.0)
    ray.node("b", None, CPU=4.0)
    nodes = cluster()
    nodes.survey([], None)
    assert said == ["warning: 1 nodes are busy; they join when they are free"]
    assert [slot.node for slot in nodes.slots()] == ["a"]
    ray.answer("b", host("b"))
    ray.node("c", host("c"), CPU=4.0)
    ray.node("d", host("d", model="Xeon"), CPU=4.0)
    for _ in range(2):
        nodes.wait(LOOK_SECONDS)
        nodes.slots()
    nodes.wait(LOOK_SECONDS)
    assert [slot.node for slot in nodes.slots()] == ["a", "b", "c"]
    assert said[1:] == [
        "b joined",
        "c joined",
        "warning: d joined but is left out: it is of another type",
    ]
    ray.table[0]["Alive"] = False
    nodes.wait(LOOK_SECONDS)
    assert [slot.node for slot in nodes.slots()] == ["b", "c"]
    assert [node for node, _ in ray.surveys] == ["a", "b", "c", "d"], "nobody is asked twice"


@pytest.fixture
def at_work(ray, cluster, host, job_of, case_of) -> RayCluster:
    """A cluster with worker 1 on node a and worker 2 on node b."""
    nodes: RayCluster = cluster()
    for name in "ab":
        ray.node(name, host(name), CPU=4.0)
    nodes.survey([], None)
    numbers = [nodes.start(Slot(name, 0), job_of([[case_of(1)]])) for name in "ab"]
    assert numbers == [1, 2]
    return nodes


def test_workers_know_where_they_are(ray, at_work) -> None:
    task = wire.decode(ray.jobs[2], NodeTask)
    assert task.place == {"host": "b", "node": "b", "device": "EPYC, 4 cores"}
    begin = Begin(case_id="x", stage="prepare", machine=task.place | {"gpu": "5"})
    ray.say(2, Started(), begin)
    ray.say(9, Begin(case_id="of nobody", stage="prepare"))
    assert at_work.wait(1.0) == [(2, Started()), (2, begin)]


def test_worker_is_lost_after_all_it_said(ray, at_work) -> None:
    """Its events may have come into the mailbox since it was last asked."""

    def end() -> None:
        ray.say(1, Ready())
        ray.tasks[1].value, ray.tasks[1].there = RayError("node died\nand more"), True
        ray.meanwhile = lambda: None

    ray.meanwhile = end
    assert at_work.wait(1.0) == [(1, Ready()), (1, Lost(reason="node died"))]
    assert at_work.wait(1.0) == []


@pytest.mark.parametrize("last", [Done(), Ended(status="error", reason="killed")])
def test_worker_that_said_its_end_is_not_lost(ray, at_work, last: Event) -> None:
    ray.say(1, last)
    ray.tasks[1].there = True
    assert at_work.wait(1.0) == [(1, last)]
    at_work.end(1)
    assert ray.cancelled == []


def test_worker_that_ends_without_a_word_is_lost(ray, at_work) -> None:
    ray.tasks[2].there = True
    assert at_work.wait(1.0) == [(2, Lost(reason="the worker ended without a word"))]


def test_worker_is_ended_by_cancelling_its_task(ray, at_work) -> None:
    at_work.end(1)
    assert ray.cancelled == [ray.tasks[1]]
    ray.say(1, Ready())
    assert at_work.wait(1.0) == []
    at_work.close()
    assert ray.cancelled == list(ray.tasks.values())


def test_lost_head_is_the_end(ray, at_work) -> None:
    ray.dead = True
    with pytest.raises(NoDevice, match=r"^the cluster is lost: the head is gone$"):
        at_work.wait(1.0)


def test_worker_alone(ray, at_work, job_of, case_of) -> None:
    worker = at_work.start_alone(job_of([[case_of(1)]]))
    ray.say(3, Started(), Ready())
    assert worker.next_event(10.0) == Ready()
    with pytest.raises(TimeoutError):
        worker.next_event(0.0)
    ray.say(3, Ended(status="error", reason="killed"))
    assert worker.next_event(10.0) is None
    assert worker.close() == "killed"
    for node in ray.table:
        node["Alive"] = False
    at_work.wait(LOOK_SECONDS)
    with pytest.raises(NoDevice, match="no node of the cluster is left"):
        at_work.start_alone(job_of([[case_of(1)]]))


def test_traces_lie_where_the_job_wanted_them(ray, at_work, case_of, tmp_path: Path) -> None:
    worker = at_work.start_alone(ProfileJob(cases=[case_of(1)], folder=str(tmp_path)))
    taken = Profiled(case_id="case", profile=Profile(file="case/t.gz"))
    none = Profiled(case_id="other", profile=Profile(reason="no"))
    ray.say(3, taken, trace=b"trace")
    ray.say(3, none)
    assert [worker.next_event(10.0).profile for _ in range(2)] == [taken.profile, none.profile]
    assert (tmp_path / "case" / "t.gz").read_bytes() == b"trace"


def test_mailbox_hands_out_each_event_once_and_in_order() -> None:
    async def talk() -> list[list[tuple[int, bytes, bytes]]]:
        box = Mailbox()
        early = asyncio.ensure_future(box.take(60.0))
        await asyncio.sleep(0)  # it waits now
        await box.put(1, b"1", b"")
        first = await early
        for data in (b"2", b"3"):
            await box.put(int(data), data, b"")
        return [first, await box.take(60.0), await box.take(0.0)]

    assert asyncio.run(talk()) == [[(1, b"1", b"")], [(2, b"2", b""), (3, b"3", b"")], []]


def test_without_ray_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"pip install 'paraformer-bench\[ray\]'"),
        connect(None, None, print),
    ):
        pass
