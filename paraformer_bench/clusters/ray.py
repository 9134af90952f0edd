"""A Ray cluster: its nodes, and workers as Ray tasks that have a device to themselves.

A task runs one child process (`node.run_on_node`) and leaves what it says in a mailbox, an actor
on the head node. (A task could yield events, but not to a command that comes through Ray Client.)
"""

from __future__ import annotations

import importlib
import itertools
import math
import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from paraformer_bench.clusters.machines import Machine, matching, refuse_mixture
from paraformer_bench.clusters.node import (
    SAID,
    Lost,
    Mailbox,
    Message,
    NodeTask,
    Started,
    run_on_node,
    survey_on_node,
)
from paraformer_bench.study import child, wire
from paraformer_bench.study.errors import NoDevice, UsageError
from paraformer_bench.study.events import Done, Ended, Event, Profiled, Refused, Surveyed
from paraformer_bench.study.job import Job, ProfileJob, SurveyJob
from paraformer_bench.study.run_folder import Node
from paraformer_bench.study.survey import Survey

LOOK_SECONDS = 5.0
"""How often the cluster is asked for its nodes: some are lost, others join."""

_HEAD = "node:__internal_head__"
_KNOCK_SECONDS = 10.0
_MAILBOX_SECONDS = 60.0
_SURVEY_SECONDS = 120.0

Say = Callable[[str], None]


@contextmanager
def connect(address: str | None, text: str | None, say: Say) -> Iterator[RayCluster]:
    """Connect to the cluster at ``address``, or start one on this machine that ends with us.

    Args:
        address: As `ray.init` takes it: ``ray://HOST:10001``, ``HOST:6379`` or ``auto``.
        text: Use only nodes whose host or device name contains this.
        say: Told of warnings and of nodes that join.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise UsageError("--launcher ray needs Ray: pip install 'paraformer-bench[ray]'") from None
    options: dict[str, Any] = {"address": address}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # workers as they are without Ray
        options = {"address": "local", "include_dashboard": False}
    package = str(Path(child.ROOT, "paraformer_bench"))
    options |= {"runtime_env": {"py_modules": [package]}, "log_to_driver": False}
    try:
        if address is not None:
            _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is in the error
            ray.init(**options, logging_level="ERROR")
    except Exception as error:  # Ray raises whatever its parts do
        doing = f"connect to Ray at {address}" if address else "start Ray"
        raise UsageError(f"cannot {doing}: {_first_line(error)}") from None
    try:
        with closing(RayCluster(ray, text, say)) as cluster:
            yield cluster
    finally:
        ray.shutdown()


class Slot(NamedTuple):
    """A device that runs one block at a time: the id of its node, and which one of that it is."""

    node: str
    number: int


class RayCluster:
    """Nodes of one kind, what runs on them for us, and what that says; see `connect`."""

    def __init__(
        self,
        ray: Any,
        text: str | None,
        say: Say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = ""
        self._ray = ray
        self._text = text
        self._say = say
        self._clock = clock
        self._losses = (ray.exceptions.RayError, ConnectionError)
        self._plugins: list[str] = []
        # Nodes, by id: resources of those that are alive, and those of the run.
        self._alive: dict[str, dict[str, float]] = {}
        self._looked = -math.inf
        self._machines: dict[str, Machine] = {}
        # Ray's own names of surveys under way, by node; None once it has answered.
        self._surveys: dict[str, Any] = {}
        # Workers, by number.
        self._numbers = itertools.count(1)
        self._workers: dict[int, RayWorker] = {}
        # Without max_calls a process would serve one block after another.
        once = ray.remote(max_calls=1, max_retries=0)
        self._run, self._survey = once(run_on_node), once(survey_on_node)
        mailbox = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox = mailbox.options(resources={_HEAD: 0.001}).remote()
        self._take: Any = None  # what comes next out of the mailbox

    def close(self) -> None:
        """End everything that runs on the cluster for us."""
        for number in list(self._workers):
            self.end(number)
        for ref in filter(None, self._surveys.values()):
            self._cancel(ref)
        with suppress(Exception):
            self._ray.kill(self._mailbox)

    def survey(self, plugins: Sequence[Path], asked: str | None) -> Survey:
        """Ask all nodes what is there, choose the device, and return what one of them said.

        The device is the one that was asked for, else a GPU where a node has one.

        Raises:
            UsageError: No node has such a device or answers, they are of several kinds, or a
                plugin cannot be loaded.
        """
        if asked not in (None, "cpu", "cuda:0"):
            raise UsageError(
                f"with --launcher ray the cluster chooses the GPU, which is then cuda:0: device "
                f"{asked} cannot be asked for"
            )
        self._look()
        gpus = any(resources.get("GPU", 0) >= 1 for resources in self._alive.values())
        self.device = asked or ("cuda:0" if gpus else "cpu")
        if self.device != "cpu" and not gpus:
            raise UsageError("device cuda:0 is not there: no node of the cluster has a GPU")
        self._plugins = [str(path) for path in plugins]
        machines = self._answers(_SURVEY_SECONDS)
        if not machines:
            free = f"was free within {_SURVEY_SECONDS:.0f} s"
            lack = free if self._surveys else "has a CPU that can be reserved"
            raise UsageError(f"no node of the cluster {lack}")
        if busy := sum(ref is not None for ref in self._surveys.values()):
            self._say(f"warning: {busy} nodes are busy; they join when they are free")
        chosen = matching(machines, self._text)
        if not chosen:
            names = sorted({f"{m.node.host} ({m.node.device_name})" for m in machines})
            raise UsageError(
                f"no node with {self._text!r} in its host or device name: there are "
                f"{', '.join(names)}"
            )
        refuse_mixture(chosen)
        self._machines = {machine.node.node: machine for machine in chosen}
        return chosen[0].survey

    @property
    def nodes(self) -> list[Node]:
        """Every node that was used or could have been, those that are lost too."""
        return [machine.node for machine in self._machines.values()]

    def slots(self) -> list[Slot]:
        """Return the devices that can be used now, those at work too."""
        self._look()
        return [
            Slot(node.node, number)
            for node in self.nodes
            if node.node in self._alive
            for number in range(node.devices)
        ]

    def start(self, slot: Slot, job: Job) -> int:
        """Start a worker on a job when the device is free; return the number of the worker."""
        number, node = next(self._numbers), self._machines[slot.node].node
        task = NodeTask.of(job, host=node.host, node=node.node, device=node.device_name)
        remote = self._run.options(**self._reservation(slot.node))
        ref = remote.remote(number, wire.encode(task), self._mailbox)
        self._workers[number] = RayWorker(self, number, job, ref)
        return number

    def start_alone(self, job: Job) -> RayWorker:
        """Start a worker on the first node; a `supervise.Start`.

        Raises:
            NoDevice: There is no node any more.
        """
        slots = self.slots()
        if not slots:
            raise NoDevice("no node of the cluster is left")
        return self._workers[self.start(slots[0], job)]

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what workers said since the last time, waiting a while if they said nothing.

        Beside the events that `supervise` yields there are `Started` and `Lost`.

        Raises:
            NoDevice: The head node is lost, and with it the cluster.
        """
        ray = self._ray
        messages: list[Message] = []
        with self._reached():
            self._take = self._take or self._mailbox.take.remote(LOOK_SECONDS)
            refs = [self._take, *(worker.ref for worker in self._workers.values())]
            ready, _ = ray.wait(refs, num_returns=1, timeout=seconds)
            over = [worker for worker in self._workers.values() if worker.ref in ready]
            if ready:
                messages += ray.get(self._take, timeout=_MAILBOX_SECONDS)
                self._take = None
            if over:  # what they said before their end has arrived by now
                messages += ray.get(self._mailbox.take.remote(0), timeout=_MAILBOX_SECONDS)
        said = [
            (number, self._workers[number].hear(event, trace))
            for number, event, trace in messages
            if number in self._workers
        ]
        for worker in over:
            del self._workers[worker.number]
            if not worker.over:
                lost = self._result(worker.ref) or Lost(reason="the worker ended without a word")
                said.append((worker.number, lost))
        return said

    def end(self, number: int) -> None:
        """Kill a worker if it still runs, and its child with it; it says nothing any more."""
        worker = self._workers.pop(number, None)
        if worker is not None and not worker.over:
            self._cancel(worker.ref)

    def _cancel(self, ref: Any) -> None:
        with suppress(Exception):  # it may be over, and so may the cluster
            self._ray.cancel(ref, force=True)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except self._losses as error:
            raise NoDevice(f"the cluster is lost: {_first_line(error)}") from None

    def _result(self, ref: Any) -> Any:
        """Return what a task that is over has returned, or `Lost`."""
        try:
            return self._ray.get(ref, timeout=_MAILBOX_SECONDS)
        except self._losses as error:
            return Lost(reason=_first_line(error))

    def _reservation(self, node: str) -> dict[str, Any]:
        """Return what a worker has to itself: a GPU with its share of cores, or all cores."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cores = int(self._alive[node].get("CPU", 0)) // max(self._devices(node), 1)
        gpu = {} if self.device == "cpu" else {"num_gpus": 1}
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return {**gpu, "num_cpus": cores, "scheduling_strategy": there}

    def _devices(self, node: str) -> int:
        resources = self._alive.get(node, {})
        if self.device == "cpu":
            return int(resources.get("CPU", 0) >= 1)
        return int(resources.get("GPU", 0))

    def _look(self) -> None:
        """Learn which nodes are there, every few seconds, and let new ones of the kind join."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        with self._reached():
            nodes = self._ray.nodes()
        self._alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
        for machine in matching(self._answers(0) if self._machines else [], self._text):
            host = machine.node.host
            if machine.kind == next(iter(self._machines.values())).kind:
                self._machines[machine.node.node] = machine
                self._say(f"{host} joined")
            else:
                self._say(f"warning: {host} joined but is left out: it is of another type")

    def _answers(self, seconds: float) -> list[Machine]:
        """Ask nodes with a device what is there, each once; return those that answer in time."""
        for node in self._alive:
            if node not in self._surveys and self._devices(node):
                data = wire.encode(NodeTask.of(SurveyJob(plugins=self._plugins)))
                self._surveys[node] = self._survey.options(**self._reservation(node)).remote(data)
        asked = {ref: node for node, ref in self._surveys.items() if ref is not None}
        if not asked:
            return []
        with self._reached():
            ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
        machines: list[Machine] = []
        refusals: dict[str, str] = {}
        for ref in ready:
            node, answer = asked[ref], self._result(ref)
            self._surveys[node] = None
            if not isinstance(answer, Lost):
                answer = SAID.decode(answer)
            if isinstance(answer, Surveyed):
                devices = self._devices(node)
                machines.append(Machine.of(node, devices, answer.survey, self.device))
            else:
                refusals[node] = answer.message if isinstance(answer, Refused) else answer.reason
        if refusals and not (machines or self._machines):  # none of them can, and no other does
            raise UsageError(next(iter(refusals.values())))
        for node, reason in refusals.items():
            self._say(f"warning: node {node[:8]} is left out: {reason}")
        return machines


@dataclass(eq=False)
class RayWorker:
    """A worker on a node. To be a `supervise.Worker` it must be our only one at work."""

    cluster: RayCluster
    number: int
    job: Job
    ref: Any  # Ray's own name for it
    over: bool = False  # it has said how it ended
    ending: str = "the worker was stopped"
    said: deque[Event] = field(default_factory=deque)

    def hear(self, data: bytes, trace: bytes) -> Event:
        """Return an event of the worker; write its trace to where the job wanted it."""
        event: Event = SAID.decode(data)
        self.over = self.over or isinstance(event, Done | Ended)
        if isinstance(event, Profiled) and isinstance(self.job, ProfileJob) and trace:
            path = Path(self.job.folder, str(event.profile.file))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(trace)
        return event

    def next_event(self, seconds: float) -> Event | None:
        """Return the next event, or None when there will be no more.

        Raises:
            TimeoutError: None came within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not self.said:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for number, event in self.cluster.wait(min(left, LOOK_SECONDS)):
                if number == self.number and not isinstance(event, Started):
                    self.said.append(event)
        event = self.said.popleft()
        if isinstance(event, Ended | Lost):
            self.ending = event.reason
            return None
        return event

    def close(self) -> str:
        """End the worker if it still runs; say in a line how it ended."""
        self.cluster.end(self.number)
        return self.ending


def _knock(address: str) -> None:
    """Check that somebody listens at ``HOST:PORT``: Ray would try for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=_KNOCK_SECONDS).close()


def _first_line(error: BaseException) -> str:
    """Return the gist of an error; those of Ray go on for pages."""
    cause = getattr(error, "cause", None) or error
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    lines = [line.strip() for line in words.splitlines()]
    return next(filter(None, lines), type(cause).__name__)[:300]
