"""A Ray cluster: its nodes, and workers as Ray tasks that have a device to themselves.

`ray_session` hands in the module Ray. A task runs one child process and leaves what it says in a
mailbox, an actor on the head node. (A task could yield events, but not to a command that reaches
the cluster from outside through Ray Client.)
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from paraformer_bench.clusters.errand import (
    Errand,
    Files,
    errand,
    own_variables,
    read_plugins,
    run_here,
    survey_here,
)
from paraformer_bench.clusters.machines import Machine, fingerprint, matching, refuse_mixture
from paraformer_bench.clusters.mailbox import Letter, Mailbox
from paraformer_bench.clusters.ray_worker import LOOK_SECONDS, RayWorker
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.job import Job
from paraformer_bench.study.profiling import ProfileJob
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.block import STARTUP_SECONDS
from paraformer_bench.sweep.parallel import Slot
from paraformer_bench.sweep.schedule import NoDevice
from paraformer_bench.workers.local import Message, Worker

_HEAD = "node:__internal_head__"
_MAILBOX_SECONDS = 60.0
_SURVEY_SECONDS = 120.0
_LONG = 3600.0
"""For processes whose patience the command has."""

Say = Callable[[str], None]


class RayCluster:
    """What `parallel.Cluster` asks for, and the few things a sweep does on one node alone.

    Args:
        ray: The module.
        part: Use only nodes whose host or device name contains this.
        say: Receives warnings.
    """

    def __init__(self, ray: ModuleType, part: str | None, say: Say) -> None:
        self.device = ""
        self._ray = ray
        self._part = part
        self._say = say
        self._plugins: Files = ()
        self._lost = (ray.exceptions.RayError, ConnectionError)
        # Nodes, by id.
        self._alive: dict[str, dict[str, float]] = {}
        self._looked = -math.inf
        self._surveyed: set[str] = set()
        self._surveys: dict[str, Any] = {}  # under way
        self._refusals: dict[str, str] = {}
        self._machines: dict[str, Machine] = {}
        # Workers, by number.
        self._sent = 0
        self._tasks: dict[int, Any] = {}
        self._places: dict[int, dict[str, str]] = {}
        self._done: set[int] = set()
        self._take: Any = None  # what comes next out of the mailbox
        # Without max_calls a process would serve one block after another.
        self._remote = ray.remote(max_calls=1, max_retries=0)
        mailbox = ray.remote(num_cpus=0)(Mailbox)
        self._mailbox = mailbox.options(resources={_HEAD: 0.001}).remote()

    def close(self) -> None:
        """End everything that runs on the cluster for us."""
        for number in list(self._tasks):
            self.end(number)
        for ref in self._surveys.values():
            self._cancel(ref)
        with contextlib.suppress(Exception):
            self._ray.kill(self._mailbox)

    def survey(self, plugins: Sequence[Path], asked: str | None) -> Survey:
        """Ask all nodes what is there, choose the device, and return what one of them said.

        Args:
            plugins: Plugin files of the command.
            asked: ``cpu`` or ``cuda:0``; None for a GPU where a node has one.

        Raises:
            UsageError: No node has such a device or answers, they are of several types, or a
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
        chosen = matching(machines, self.device, self._part)
        if not chosen:
            names = sorted({f"{m.host} ({m.device_name(self.device)})" for m in machines})
            raise UsageError(
                f"no node with {self._part!r} in its host or device name: there are "
                f"{', '.join(names)}"
            )
        refuse_mixture(chosen, self.device)
        self._machines = {machine.node: machine for machine in chosen}
        return chosen[0].survey

    @property
    def machines(self) -> list[Machine]:
        """Every node that was used or could have been, those that are lost too."""
        return list(self._machines.values())

    def slots(self) -> list[Slot]:
        """Return the devices of all nodes that are alive and of the run's type."""
        self._look()
        return [
            Slot(node, number)
            for node, machine in self._machines.items()
            if node in self._alive
            for number in range(machine.devices)
        ]

    def start(self, slot: Slot, job: Job) -> int:
        """Queue a worker on a node; see `parallel.Cluster`."""
        timeout = job.protocol.timeout_seconds
        startup = max(STARTUP_SECONDS, timeout)
        packed = errand("workers.block", job, self._plugins, startup, timeout)
        return self.send(slot.node, packed)

    def wait(self, seconds: float) -> list[Letter]:
        """Return what workers said; see `parallel.Cluster`.

        Raises:
            NoDevice: The head node is lost, and with it the cluster.
        """
        ray = self._ray
        try:
            if self._take is None:
                self._take = self._mailbox.take.remote(LOOK_SECONDS)
            waited = [self._take, *self._tasks.values()]
            ready, _ = ray.wait(waited, num_returns=1, timeout=seconds)
            over = [number for number, ref in self._tasks.items() if ref in ready]
            letters: list[Letter] = []
            if self._take in ready or over:
                letters += ray.get(self._take, timeout=_MAILBOX_SECONDS)
                self._take = None
            if over:  # what they said before their end has arrived by now
                letters += ray.get(self._mailbox.take.remote(0), timeout=_MAILBOX_SECONDS)
        except self._lost as error:
            raise NoDevice(f"the cluster is lost: {first_line(error)}") from None
        said = [(n, self._signed(n, event)) for n, event in letters if n in self._tasks]
        for number in over:
            ref = self._tasks.pop(number)
            if number not in self._done:
                said.append((number, {"event": "lost", "reason": self._ending(ref)}))
        return said

    def end(self, worker: int) -> None:
        """Kill a worker if it still runs: with the task dies its child."""
        ref = self._tasks.pop(worker, None)
        if ref is not None and worker not in self._done:
            self._cancel(ref)

    def launch(self, job: Message, module: str) -> Worker:
        """Start a module of this package on a node, as `workers.ask` wants it.

        Raises:
            UsageError: There is no node any more.
        """
        try:
            packed = errand(module, job, self._plugins, _LONG, _LONG)
            return RayWorker(self, self._first_node(), packed)
        except NoDevice as error:
            raise UsageError(str(error)) from None

    def launch_profiler(self, job: ProfileJob) -> Worker:
        """Start a profiling process on a node; its traces come to the folder of the job.

        Raises:
            NoDevice: There is no node any more.
        """
        packed = errand("workers.profile", job, self._plugins, _LONG, _LONG)
        return RayWorker(self, self._first_node(), packed, Path(job.folder))

    def send(self, node: str, packed: Errand) -> int:
        """Queue an errand on a node; return the number of its worker."""
        self._sent += 1
        number = self._sent
        machine = self._machines[node]
        name = machine.device_name(self.device)
        self._places[number] = {"host": machine.host, "node": node, "device": name}
        task = self._remote(_run_errand).options(**self._reservation(node))
        self._tasks[number] = task.remote(number, packed, self._mailbox)
        return number

    def _signed(self, number: int, event: dict[str, Any]) -> dict[str, Any]:
        """Let an event of a case say where it happened."""
        if event["event"] == "started" and "gpu" in event:
            self._places[number]["gpu"] = event["gpu"]
        if event["event"] in ("done", "ended"):
            self._done.add(number)
        return event | {"machine": self._places[number]} if "case_id" in event else event

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
        resources = self._alive[node]
        if self.device == "cpu":
            return int(resources.get("CPU", 0) >= 1)
        return int(resources.get("GPU", 0))

    def _first_node(self) -> str:
        slots = self.slots()
        if not slots:
            raise NoDevice("no node of the cluster is left")
        return slots[0].node

    def _look(self) -> None:
        """Learn which nodes are there, every few seconds, and welcome those that joined."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            nodes = self._ray.nodes()
        except self._lost as error:
            raise NoDevice(f"the cluster is lost: {first_line(error)}") from None
        self._alive = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}
        if self._machines:
            self._ask_new_nodes()
            for machine in self._answers(0.0):
                self._welcome(machine)
            self._tell_refusals()

    def _ask_new_nodes(self) -> None:
        """Have every node with a device surveyed that was not yet."""
        task = self._remote(survey_here)
        for node in self._alive:
            if node not in self._surveyed and self._devices(node):
                self._surveyed.add(node)
                options = self._reservation(node)
                self._surveys[node] = task.options(**options).remote(
                    self._plugins, own_variables()
                )

    def _answers(self, seconds: float) -> list[Machine]:
        """Return the machines that were surveyed since the last time; wait for all a while."""
        if not self._surveys:
            return []
        refs = list(self._surveys.values())
        ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=seconds)
        machines = []
        for node, ref in list(self._surveys.items()):
            if ref not in ready:
                continue
            del self._surveys[node]
            try:
                answer = self._ray.get(ref)
            except self._lost as error:
                answer = first_line(error)
            if isinstance(answer, str):
                self._refusals[node] = answer
            else:
                machines.append(Machine(node, self._devices(node), _only(answer, self.device)))
        return machines

    def _survey_all(self) -> list[Machine]:
        """Survey the nodes that are there.

        Raises:
            UsageError: None of them answers.
        """
        self._ask_new_nodes()
        if not self._surveys:
            raise UsageError("no node of the cluster has a CPU that can be reserved")
        machines = self._answers(_SURVEY_SECONDS)
        if self._surveys:
            self._say(
                f"warning: {len(self._surveys)} nodes are busy; they join when they are free"
            )
        if machines:
            self._tell_refusals()
            return machines
        refusal = next(iter(self._refusals.values()), None)
        raise UsageError(
            refusal or f"no node of the cluster was free within {_SURVEY_SECONDS:.0f} s"
        )

    def _tell_refusals(self) -> None:
        for node, reason in self._refusals.items():
            self._say(f"warning: node {node[:8]} is left out: {reason}")
        self._refusals.clear()

    def _welcome(self, machine: Machine) -> None:
        """Let a node that joined take part, if it is one of the run's type."""
        first = next(iter(self._machines.values()))
        ours = fingerprint(first.survey, self.device)
        if not matching([machine], self.device, self._part):
            return
        if fingerprint(machine.survey, self.device) != ours:
            self._say(f"warning: {machine.host} joined but is left out: it is of another type")
            return
        self._machines[machine.node] = machine
        self._say(f"{machine.host} joined")

    def _ending(self, ref: Any) -> str:
        """Say why a task is over that did not say so itself."""
        try:
            self._ray.get(ref, timeout=_MAILBOX_SECONDS)
        except self._lost as error:
            return first_line(error)
        return "the worker ended without a word"

    def _cancel(self, ref: Any) -> None:
        with contextlib.suppress(Exception):  # it may be over, and so may the cluster
            self._ray.cancel(ref, force=True)


def _run_errand(number: int, packed: Errand, mailbox: Any) -> None:
    """On a node: run an errand, and wait until each event has arrived."""
    import ray

    run_here(packed, lambda event: ray.get(mailbox.put.remote(number, event)))


def _only(survey: Survey, device: str) -> Survey:
    """Return a survey without the devices that are not measured: nobody may take them."""
    devices = survey.environment["devices"]
    kept = {name: devices[name] for name in devices if name in ("cpu", device)}
    return replace(survey, environment=survey.environment | {"devices": kept})


def first_line(error: BaseException) -> str:
    """Return the gist of an error; those of Ray go on for pages."""
    cause = getattr(error, "cause", None) or error
    words = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    lines = [line.strip() for line in words.splitlines()]
    return next(filter(None, lines), type(cause).__name__)[:300]
