"""A Ray cluster: its nodes, and workers as Ray tasks that have a device to themselves.

A task runs one child process (`node.run_on_node`) and leaves what it says in a mailbox, an actor
on the head node. (A task could yield events, but not to a command that comes through Ray Client.)
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import socket
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from paraformer_bench.clusters.machines import Machine, fingerprint, matching, refuse_mixture
from paraformer_bench.clusters.node import (
    SAID,
    Files,
    Letter,
    Mailbox,
    NodeTask,
    read_plugins,
    run_on_node,
)
from paraformer_bench.clusters.side_by_side import Lost, Slot, Started
from paraformer_bench.study import child, wire
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.events import (
    CaseEvent,
    Done,
    Ended,
    Event,
    Profiled,
    Refused,
    Surveyed,
)
from paraformer_bench.study.job import Job, ProfileJob, SurveyJob
from paraformer_bench.study.run_folder import Node
from paraformer_bench.study.survey import Survey
from paraformer_bench.workers.blocks import NoDevice

LOOK_SECONDS = 5.0
"""How often the cluster is asked for its nodes: some are lost, others join."""

_EXTRA = "--launcher ray needs Ray: pip install 'paraformer-bench[ray]'"
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
        say: Receives warnings.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise UsageError(_EXTRA) from None
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # workers as they are without Ray
    local = {"include_dashboard": False} if address is None else {}
    try:
        if address is not None:
            _knock(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is in the error
            ray.init(
                address=address or "local",
                runtime_env={"py_modules": [str(Path(child.ROOT, "paraformer_bench"))]},
                log_to_driver=False,
                logging_level="ERROR",
                **local,
            )
    except Exception as error:  # Ray raises whatever its parts do
        doing = f"connect to Ray at {address}" if address else "start Ray"
        raise UsageError(f"cannot {doing}: {_first_line(error)}") from None
    try:
        with contextlib.closing(RayCluster(ray, text, say)) as cluster:
            yield cluster
    finally:
        ray.shutdown()


class RayCluster:
    """A `side_by_side.Cluster`, which can survey its nodes and start a worker that is alone too.

    Args:
        ray: The module.
        text: Use only nodes whose host or device name contains this.
        say: Receives warnings.
        clock: Seconds on a monotonic clock.
    """

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
        self._plugins: Files = ()
        self._losses = (ray.exceptions.RayError, ConnectionError)
        # Nodes, by id.
        self._alive: dict[str, dict[str, float]] = {}
        self._looked = -math.inf
        self._machines: dict[str, Machine] = {}
        self._asked: set[str] = set()
        self._answers: dict[str, Survey | str] = {}  # not looked at yet; text is a refusal
        # Workers, by number.
        self._sent = 0
        self._tasks: dict[int, _Task] = {}
        # Without max_calls a process would serve one block after another.
        self._remote = ray.remote(max_calls=1, max_retries=0)(run_on_node)
        mailbox = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox = mailbox.options(resources={_HEAD: 0.001}).remote()
        self._take: Any = None  # what comes next out of the mailbox

    def close(self) -> None:
        """End everything that runs on the cluster for us."""
        for number in list(self._tasks):
            self.end(number)
        with contextlib.suppress(Exception):
            self._ray.kill(self._mailbox)

    def survey(self, plugins: Sequence[Path], asked: str | None) -> Survey:
        """Ask all nodes what is there, choose the device, and return what one of them said.

        Args:
            plugins: Plugin files of the command.
            asked: ``cpu`` or ``cuda:0``; None for a GPU where a node has one.

        Raises:
            UsageError: No node has such a device or answers, they are of several kinds, or a
                plugin cannot be loaded.
        """
        if asked not in (None, "cpu", "cuda:0"):
            raise UsageError(
                f"with --launcher ray the cluster chooses the GPU, which is then cuda:0: device "
                f"{asked} cannot be asked for"
            )
        self._plugins = read_plugins(plugins)
        self._look()
        gpus = any(resources.get("GPU", 0) >= 1 for resources in self._alive.values())
        self.device = asked or ("cuda:0" if gpus else "cpu")
        if self.device != "cpu" and not gpus:
            raise UsageError("device cuda:0 is not there: no node of the cluster has a GPU")
        machines = self._survey_all()
        chosen = matching(machines, self._text)
        if not chosen:
            names = sorted({f"{machine.host} ({machine.device_name})" for machine in machines})
            raise UsageError(
                f"no node with {self._text!r} in its host or device name: there are "
                f"{', '.join(names)}"
            )
        refuse_mixture(chosen)
        self._machines = {machine.id: machine for machine in chosen}
        return chosen[0].survey

    @property
    def nodes(self) -> list[Node]:
        """Every node that was used or could have been, those that are lost too."""
        return [machine.node() for machine in self._machines.values()]

    def slots(self) -> list[Slot]:
        """Return the devices of all nodes that are alive and of the run's kind."""
        self._look()
        return [
            Slot(node, number)
            for node, machine in self._machines.items()
            if node in self._alive
            for number in range(machine.devices)
        ]

    def start(self, slot: Slot, job: Job) -> int:
        """Queue a worker on a node; see `side_by_side.Cluster`."""
        return self._send(slot.node, job)

    def start_alone(self, job: Job) -> RayWorker:
        """Start a worker on the first node; a `supervise.Start`.

        Raises:
            NoDevice: There is no node any more.
        """
        slots = self.slots()
        if not slots:
            raise NoDevice("no node of the cluster is left")
        return RayWorker(self, self._send(slots[0].node, job))

    def wait(self, seconds: float) -> list[tuple[int, Event]]:
        """Return what workers said; see `side_by_side.Cluster`.

        Raises:
            NoDevice: The head node is lost, and with it the cluster.
        """
        ray = self._ray
        try:
            if self._take is None:
                self._take = self._mailbox.take.remote(LOOK_SECONDS)
            refs = [self._take, *(task.ref for task in self._tasks.values())]
            ready, _ = ray.wait(refs, num_returns=1, timeout=seconds)
            over = [number for number, task in self._tasks.items() if task.ref in ready]
            letters: list[Letter] = []
            if self._take in ready or over:
                letters += ray.get(self._take, timeout=_MAILBOX_SECONDS)
                self._take = None
            if over:  # what they said before their end has arrived by now
                letters += ray.get(self._mailbox.take.remote(0), timeout=_MAILBOX_SECONDS)
        except self._losses as error:
            raise NoDevice(f"the cluster is lost: {_first_line(error)}") from None
        said = [
            (number, self._tasks[number].hear(event, trace))
            for number, event, trace in letters
            if number in self._tasks
        ]
        said += [(n, Lost(reason=self._ending(n))) for n in over if not self._tasks[n].over]
        said = [(n, event) for n, event in said if not self._note_survey(self._tasks[n], event)]
        for number in over:
            del self._tasks[number]
        self._let_join()
        return said

    def end(self, worker: int) -> None:
        """Kill a worker if it still runs: with the task dies its child."""
        task = self._tasks.pop(worker, None)
        if task is not None and not task.over:
            with contextlib.suppress(Exception):  # it may be over, and so may the cluster
                self._ray.cancel(task.ref, force=True)

    def _send(self, node: str, job: Job) -> int:
        """Queue a job on a node; return the number of its worker."""
        self._sent += 1
        data = wire.encode(NodeTask.of(job, self._plugins))
        remote = self._remote.options(**self._reservation(node))
        place = {"node": node}
        if machine := self._machines.get(node):
            place = {"host": machine.host, "node": node, "device": machine.device_name}
        self._tasks[self._sent] = _Task(job, place, remote.remote(self._sent, data, self._mailbox))
        return self._sent

    def _reservation(self, node: str) -> dict[str, Any]:
        """Return what a worker has to itself: a GPU with its share of cores, or all cores."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        resources = self._alive.get(node, {})
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        if self.device == "cpu":
            return {"num_cpus": cpus, "scheduling_strategy": there}
        share = cpus // max(gpus, 1)
        return {"num_gpus": 1, "num_cpus": share, "scheduling_strategy": there}

    def _devices(self, node: str) -> int:
        resources = self._alive.get(node, {})
        if self.device == "cpu":
            return int(resources.get("CPU", 0) >= 1)
        return int(resources.get("GPU", 0))

    def _look(self) -> None:
        """Learn which nodes are there, every few seconds, and survey those that joined."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            nodes = self._ray.nodes()
        except self._losses as error:
            raise NoDevice(f"the cluster is lost: {_first_line(error)}") from None
        self._alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
        if self._machines:
            self._ask_nodes()

    def _ask_nodes(self) -> None:
        """Have every node with a device surveyed that was not yet."""
        for node in self._alive:
            if node not in self._asked and self._devices(node):
                self._asked.add(node)
                self._send(node, SurveyJob())

    def _survey_all(self) -> list[Machine]:
        """Survey the nodes that are there.

        Raises:
            UsageError: None of them answers.
        """
        self._ask_nodes()
        if not self._tasks:
            raise UsageError("no node of the cluster has a CPU that can be reserved")
        deadline = self._clock() + _SURVEY_SECONDS
        while self._tasks and (left := deadline - self._clock()) > 0:
            self.wait(left)
        if self._tasks:
            self._say(f"warning: {len(self._tasks)} nodes are busy; they join when they are free")
        refusals = [answer for answer in self._answers.values() if isinstance(answer, str)]
        if machines := self._take_answers(tell=len(refusals) < len(self._answers)):
            return machines
        raise UsageError(
            next(iter(refusals), f"no node of the cluster was free within {_SURVEY_SECONDS:.0f} s")
        )

    def _note_survey(self, task: _Task, event: Event) -> bool:
        """Keep what a node says of itself; return whether the event is of a survey."""
        if not isinstance(task.job, SurveyJob):
            return False
        node = task.place["node"]
        if isinstance(event, Surveyed):
            self._answers[node] = event.survey
        elif isinstance(event, Refused):
            self._answers[node] = event.message
        elif isinstance(event, Ended | Lost):
            self._answers.setdefault(node, event.reason)
        return True

    def _take_answers(self, *, tell: bool) -> list[Machine]:
        """Return the machines that have answered, and tell why others have not if asked to."""
        machines = []
        for node, answer in self._answers.items():
            if isinstance(answer, Survey):
                seen = _only(answer, self.device)
                machines.append(Machine(node, self._devices(node), seen, self.device))
            elif tell:
                self._say(f"warning: node {node[:8]} is left out: {answer}")
        self._answers.clear()
        return machines

    def _let_join(self) -> None:
        """Let nodes that have answered by now take part in the run, if they are of its kind."""
        if not self._machines:
            return
        first = next(iter(self._machines.values()))
        ours = fingerprint(first.survey, self.device)
        for machine in matching(self._take_answers(tell=True), self._text):
            if fingerprint(machine.survey, self.device) != ours:
                self._say(f"warning: {machine.host} joined but is left out: it is of another type")
            else:
                self._machines[machine.id] = machine
                self._say(f"{machine.host} joined")

    def _ending(self, number: int) -> str:
        """Say why a task is over that did not say so itself."""
        try:
            self._ray.get(self._tasks[number].ref, timeout=_MAILBOX_SECONDS)
        except self._losses as error:
            return _first_line(error)
        return "the worker ended without a word"


class RayWorker:
    """A `supervise.Worker` on a node of a cluster on which nothing else is at work for us.

    Args:
        cluster: Where it runs.
        number: Which of its workers it is.
    """

    def __init__(self, cluster: RayCluster, number: int) -> None:
        self._cluster = cluster
        self._number = number
        self._events: deque[Event] = deque()
        self._ending = "the worker was stopped"

    def next_event(self, seconds: float) -> Event | None:
        """Return the next event, or None when there will be no more.

        Raises:
            TimeoutError: None came within ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while True:
            while not self._events:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                said = self._cluster.wait(min(left, LOOK_SECONDS))
                self._events += [event for number, event in said if number == self._number]
            event = self._events.popleft()
            if isinstance(event, Ended | Lost):
                self._ending = event.reason
                return None
            if not isinstance(event, Started):
                return event

    def close(self) -> str:
        """End the worker if it still runs; say in a line how it ended."""
        self._cluster.end(self._number)
        return self._ending


@dataclass
class _Task:
    """A worker on a node.

    Attributes:
        job: What it is to do.
        place: Where it runs, as records say it.
        ref: Ray's own name for it.
        over: It has said how it ended.
    """

    job: Job
    place: dict[str, str]
    ref: Any
    over: bool = False

    def hear(self, data: bytes, trace: bytes) -> Event:
        """Return an event of the worker; write its trace to where the job wanted it."""
        event: Event = SAID.decode(data)
        if isinstance(event, Done | Ended):
            self.over = True
        if isinstance(event, Started) and event.gpu:
            self.place["gpu"] = event.gpu
        if isinstance(event, CaseEvent):
            event.machine = self.place
        if isinstance(event, Profiled) and isinstance(self.job, ProfileJob) and trace:
            path = Path(self.job.folder, str(event.profile.file))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(trace)
        return event


def _only(survey: Survey, device: str) -> Survey:
    """Return a survey without the devices that are not measured: nobody may take them."""
    devices = survey.environment["devices"]
    kept = {name: devices[name] for name in devices if name in ("cpu", device)}
    return replace(survey, environment=survey.environment | {"devices": kept})


def _knock(address: str) -> None:
    """Check that somebody listens at ``HOST:PORT``: Ray would try for minutes.

    Raises:
        OSError: Nobody does.
        ValueError: The port is no number.
    """
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=_KNOCK_SECONDS).close()


def _first_line(error: BaseException) -> str:
    """Return the gist of an error; those of Ray go on for pages."""
    cause = getattr(error, "cause", None) or error
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    lines = [line.strip() for line in words.splitlines()]
    return next(filter(None, lines), type(cause).__name__)[:300]
