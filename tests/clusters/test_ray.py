"""What is asked of Ray and what is made of its answers. Ray itself is simulated."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paraformer_bench.clusters import ray_cluster as subject
from paraformer_bench.clusters.ray_cluster import RayCluster
from paraformer_bench.clusters.ray_session import connect
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.parallel import Slot
from paraformer_bench.sweep.schedule import NoDevice


class RayError(Exception):
    pass


@dataclass(eq=False)
class Ref:
    """An answer that is there or not."""

    value: Any = None
    there: bool = True
    options: dict[str, Any] = field(default_factory=dict)


class Ray:
    """The module ``ray``, with nodes that a test makes up.

    Attributes:
        table: As `ray.nodes` returns it.
        answers: By node: what its survey says; nothing while it is busy.
        tasks: Workers, in the order they were started.
        letters: What the mailbox holds.
        meanwhile: Called while the command waits.
    """

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.table: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.surveys: list[Ref] = []
        self.tasks: list[Ref] = []
        self.letters: deque[tuple[int, dict[str, Any]]] = deque()
        self.cancelled: list[Ref] = []
        self.dead = False
        self.meanwhile: Callable[[], None] = lambda: None

    def node(self, name: str, answer: Any, **resources: float) -> None:
        self.table.append({"NodeID": name, "Alive": True, "Resources": resources})
        if answer is not None:
            self.answers[name] = answer

    def nodes(self) -> list[dict[str, Any]]:
        return self.table

    def remote(self, **_: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            def options(**options: Any) -> Any:
                return SimpleNamespace(
                    remote=lambda *arguments: self._call(function, options, arguments)
                )

            return SimpleNamespace(options=options)

        return decorate

    def _call(self, function: Any, options: dict[str, Any], arguments: Any) -> Any:
        if function is subject.Mailbox:
            return SimpleNamespace(take=SimpleNamespace(remote=self._take))
        if function is subject.survey_here:
            node = options["scheduling_strategy"].node_id
            ref = Ref(self.answers.get(node), node in self.answers, options)
            self.surveys.append(ref)
        else:
            ref = Ref(None, False, options)
            self.tasks.append(ref)
        return ref

    def _take(self, seconds: float) -> Ref:
        letters = list(self.letters)
        self.letters.clear()
        return Ref(letters)

    def wait(self, refs: list[Ref], **_: Any) -> tuple[list[Ref], list[Ref]]:
        self.meanwhile()
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
    monkeypatch.setattr(subject, "LOOK_SECONDS", 0.0)
    return Ray()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cluster(ray: Ray, said: list[str]) -> Callable[..., RayCluster]:
    return lambda part=None: RayCluster(ray, part, said.append)  # type: ignore[arg-type]


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
    for ref, node in zip(ray.surveys, "ab", strict=True):
        expected = {"num_cpus": 4, "scheduling_strategy": Affinity(node, soft=False)}
        assert ref.options == expected


def test_gpus_are_taken_one_by_one(ray, cluster, host, job_of, case_of) -> None:
    ray.node("c", host("c"), CPU=64.0)
    ray.node("g", host("g", gpus=1), CPU=64.0, GPU=8.0)
    nodes = cluster()
    assert nodes.survey([], None).gpus == ["cuda:0"]
    assert nodes.slots() == [Slot("g", number) for number in range(8)]
    nodes.start(Slot("g", 3), job_of([[case_of(1)]]))
    [task] = ray.tasks
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
    assert [machine.host for machine in nodes.machines] == ["new-1", "new-2"]
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
    ray.surveys[1].value, ray.surveys[1].there = host("b"), True
    ray.node("c", host("c"), CPU=4.0)
    ray.node("d", host("d", model="Xeon"), CPU=4.0)
    assert [slot.node for slot in nodes.slots()] == ["a", "b", "c"]
    assert said[1:] == [
        "b joined",
        "c joined",
        "warning: d joined but is left out: it is of another type",
    ]
    ray.table[0]["Alive"] = False
    assert [slot.node for slot in nodes.slots()] == ["b", "c"]
    assert len(ray.surveys) == 4, "nobody is asked twice"


@pytest.fixture
def at_work(ray, cluster, host, job_of, case_of) -> RayCluster:
    """A cluster with worker 1 on node a and worker 2 on node b."""
    nodes: RayCluster = cluster()
    for name in "ab":
        ray.node(name, host(name), CPU=4.0)
    nodes.survey([], None)
    for name in "ab":
        nodes.start(Slot(name, 0), job_of([[case_of(1)]]))
    return nodes


def test_events_say_where_they_happened(ray, at_work) -> None:
    ray.letters.append((2, {"event": "started", "host": "b", "gpu": "5"}))
    ray.letters.append((2, {"event": "begin", "case_id": "x"}))
    ray.letters.append((9, {"event": "begin", "case_id": "of nobody"}))
    place = {"host": "b", "node": "b", "device": "EPYC, 4 cores", "gpu": "5"}
    assert at_work.wait(1.0) == [
        (2, {"event": "started", "host": "b", "gpu": "5"}),
        (2, {"event": "begin", "case_id": "x", "machine": place}),
    ]


def test_worker_is_lost_after_all_it_said(ray, at_work) -> None:
    """Its events may have come into the mailbox since it was last asked."""

    def end() -> None:
        ray.letters.append((1, {"event": "ready"}))
        ray.tasks[0].value, ray.tasks[0].there = RayError("node died\nand more"), True
        ray.meanwhile = lambda: None

    ray.meanwhile = end
    assert at_work.wait(1.0) == [
        (1, {"event": "ready"}),
        (1, {"event": "lost", "reason": "node died"}),
    ]
    assert at_work.wait(1.0) == []


@pytest.mark.parametrize("last", ["done", "ended"])
def test_worker_that_said_its_end_is_not_lost(ray, at_work, last: str) -> None:
    ray.letters.append((1, {"event": last}))
    ray.tasks[0].there = True
    assert at_work.wait(1.0) == [(1, {"event": last})]
    at_work.end(1)
    assert ray.cancelled == []


def test_worker_that_ends_without_a_word_is_lost(ray, at_work) -> None:
    ray.tasks[1].there = True
    reason = "the worker ended without a word"
    assert at_work.wait(1.0) == [(2, {"event": "lost", "reason": reason})]


def test_worker_is_ended_by_cancelling_its_task(ray, at_work) -> None:
    at_work.end(1)
    assert ray.cancelled == [ray.tasks[0]]
    ray.letters.append((1, {"event": "ready"}))
    assert at_work.wait(1.0) == []
    at_work.close()
    assert ray.cancelled == ray.tasks


def test_lost_head_is_the_end(ray, at_work) -> None:
    ray.dead = True
    with pytest.raises(NoDevice, match=r"^the cluster is lost: the head is gone$"):
        at_work.wait(1.0)


def test_worker_alone(ray, at_work, job_of, case_of) -> None:
    worker = at_work.launch(job_of([[case_of(1)]]), "workers.ceilings")
    ray.letters += [(3, {"event": "started"}), (3, {"event": "ready"})]
    assert worker.next_event(10.0) == {"event": "ready"}
    with pytest.raises(TimeoutError):
        worker.next_event(0.0)
    ray.letters.append((3, {"event": "ended", "status": "error", "reason": "killed"}))
    assert worker.next_event(10.0) is None
    assert worker.close() == "killed"
    for node in ray.table:
        node["Alive"] = False
    with pytest.raises(UsageError, match="no node of the cluster is left"):
        at_work.launch(job_of([[case_of(1)]]), "workers.ceilings")


def test_without_ray_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"pip install 'paraformer-bench\[ray\]'"),
        connect(None, None, print),
    ):
        pass
