"""What tests of the command line share: running it, and writing what it reads."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from paraformer_bench.instrument.environment import cpu_facts, cpu_name, versions
from paraformer_bench.study import child
from paraformer_bench.study.calibration import DELAYS, Calibration, Reading
from paraformer_bench.study.case import DTYPES, Case
from paraformer_bench.study.ceilings import Ceilings, Copy, Product
from paraformer_bench.study.job import BlockJob
from paraformer_bench.study.machine_file import CEILINGS
from paraformer_bench.study.record import Record
from paraformer_bench.study.registry import (
    REFERENCE_AXES,
    ExecutionTraits,
    ModelTraits,
    RuntimeTraits,
)
from paraformer_bench.study.run_folder import RECORDS, read_records
from paraformer_bench.study.survey import Survey
from tests import simulated as simulated_module
from tests.simulated import Events, SimulatedWorker

PATIENCE = 120
"""Seconds after which a command that hangs is killed; none comes near it."""

# One thread: with more, a small net on a busy machine waits for the slowest of them. No GPU: what
# is tested here is the same on every machine.
ENVIRONMENT = child.environment() | {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def heed_signals() -> None:
    """Make a new process heed what its parents may ignore.

    What runs in a shell's background ignores Ctrl-C, what runs under nohup a lost connection.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class CommandLine:
    """Runs the real command line in a process of its own, in a working directory of its own."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []

    def __call__(
        self, *arguments: object, cwd: Path, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``options`` are those of `python`."""
        return self.python("-m", "paraformer_bench", *arguments, cwd=cwd, **options)

    def python(
        self,
        *arguments: object,
        cwd: Path,
        path: Path | None = None,
        state: Path | None = None,
        gpu: bool = False,
        patience: float = PATIENCE,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run this Python to its end.

        ``path`` comes before all other places of modules; ``state`` is the user's state folder;
        with ``gpu`` it sees the GPUs that this process sees.
        """
        places = [str(path)] if path else []
        places.append(ENVIRONMENT["PYTHONPATH"])
        variables = {"PYTHONPATH": os.pathsep.join(places)}
        if state:
            variables["XDG_STATE_HOME"] = str(state)
        environment = ENVIRONMENT | variables
        if gpu:
            del environment["CUDA_VISIBLE_DEVICES"]
            if "CUDA_VISIBLE_DEVICES" in os.environ:
                environment["CUDA_VISIBLE_DEVICES"] = os.environ["CUDA_VISIBLE_DEVICES"]
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
            **options,
        )

    def start(
        self, *arguments: object, cwd: Path, stdout: int = subprocess.PIPE, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a command; whatever still runs when the session ends is killed."""
        usual: dict[str, Any] = {
            "stderr": subprocess.PIPE,
            "preexec_fn": heed_signals,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "paraformer_bench", *map(str, arguments)],
            cwd=cwd,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            text=True,
            **(usual | options),
        )
        self._started.append(process)
        return process

    @staticmethod
    def wait_until(process: subprocess.Popen[str], there: Callable[[], bool]) -> None:
        """Wait for ``there`` to come true while the process runs."""
        while not there():
            try:
                process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"it ended too early: {process.communicate()}")

    @staticmethod
    def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
        """Return the worker processes that a started sweep has right now."""
        found = []
        for one in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if one.cmdline()[-2:] == ["paraformer_bench.workers", "block"]:
                    found.append(one)
        return found

    def end_all(self) -> None:
        """Kill what was started and still runs, and close its pipes."""
        for process in self._started:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with made-up ceilings of this machine's CPU, so that no sweep probes it."""
    folder: Path = tmp_path_factory.mktemp("state")
    ceilings = Ceilings(
        date=datetime.now(timezone.utc).isoformat(),
        host=platform.node(),
        device="cpu",
        device_name=cpu_name(cpu_facts()),
        torch=versions()["torch"],
        package="0",
        copies=(Copy(2**20, 1e11),),
        products=tuple(Product(dtype, 2 * 64**3, 1e-5) for dtype in DTYPES),
        launch_seconds=2e-6,
        node_seconds=None,
        sync_seconds=0.0,
    )
    ENVIRONMENT["XDG_STATE_HOME"] = os.environ["XDG_STATE_HOME"] = str(folder)
    assert CEILINGS.keep(ceilings) == []
    return folder


@pytest.fixture(autouse=True)
def no_state(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what users keep out of tests, and the other way round."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))


@pytest.fixture(scope="session")
def cli() -> Iterator[CommandLine]:
    """`CommandLine`, whose processes end with the session at the latest."""
    command_line = CommandLine()
    yield command_line
    command_line.end_all()


@pytest.fixture(scope="session")
def install() -> Callable[[Path, Path], None]:
    """Install the package in one folder into another, as pip does and without a network."""
    pytest.importorskip("hatchling")

    def install(package: Path, target: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
        command += ["--upgrade", "--target", str(target), str(package)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return install


GPU = {
    "name": "NVIDIA H200",
    "uuid": "GPU-0",
    "memory_bytes": 150_000_000_000,
    "multiprocessors": 132,
    "driver": "570.1",
    "throttling": None,
    "compute_processes": 1,
}


def make_survey(gpus: int = 0) -> Survey:
    """What a child process would report of a machine with the built-in names, without one."""
    names = {"cpu": "EPYC, 4 cores"} | {f"cuda:{i}": "NVIDIA H200" for i in range(gpus)}

    def told(name: str) -> dict[str, str]:
        return {
            "name": name,
            "summary": f"what {name} is",
            "source": f"paraformer_bench.{name}",
        }

    chained, not_chained = REFERENCE_AXES, REFERENCE_AXES[:-1]
    return Survey(
        models={
            "serial": ModelTraits(**told("serial"), axes=not_chained),
            "paraformer": ModelTraits(**told("paraformer"), axes=chained, branched=True),
        },
        executions={
            "loop": ExecutionTraits(**told("loop"), needs_branches=False),
            "stacked": ExecutionTraits(**told("stacked")),
        },
        runtimes={
            "eager": RuntimeTraits(**told("eager")),
            "graph": RuntimeTraits(**told("graph"), devices=("cuda",)),
        },
        environment={
            "devices": names,
            "cpu": {
                "model": "EPYC",
                "usable_cores": 4,
                "physical_cores": 4,
                "torch_threads": 4,
                "clock_hz": None,
                "governor": None,
                "memory_bytes": 16 << 30,
                "memory_available_bytes": 12 << 30,
                "load_average": 0.1,
            },
            "gpus": {f"cuda:{i}": dict(GPU) for i in range(gpus)},
            "energy": {
                "cpu": {"source": None, "reason": "permission denied on /sys/energy_uj"},
                **{f"cuda:{i}": {"source": "NVML", "reason": None} for i in range(gpus)},
            },
            "host": {"name": "host", "system": "Linux"},
            "torch": {"version": "2.13.0"},
            "variables": {},
        },
        versions={"python": "3.11.7", "torch": "2.13.0"},
    )


@pytest.fixture
def survey_of() -> Callable[..., Survey]:
    """`make_survey`."""
    return make_survey


@pytest.fixture(scope="session")
def make_calibration() -> Callable[..., Calibration]:
    """Build a calibration of the CPU of `make_survey`, read ``late`` by so many seconds."""

    def make(late: float = 0.0) -> Calibration:
        readings = tuple(Reading("wall", d, d, d + 2e-7 + late, 100) for d in DELAYS)
        when, name = "2026-01-02T03:04:05+00:00", "EPYC, 4 cores"
        return Calibration(when, "host", "cpu", name, "2.13.0", "0.1.0", readings)

    return make


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    """`simulated.case_of`."""
    return simulated_module.case_of


@pytest.fixture(scope="session")
def job_of() -> Callable[..., BlockJob]:
    """`simulated.job_of`."""
    return simulated_module.job_of


@pytest.fixture(scope="session")
def events() -> type[Events]:
    """`simulated.Events`."""
    return Events


@pytest.fixture(scope="session")
def simulated() -> type[SimulatedWorker]:
    """`simulated.SimulatedWorker`."""
    return SimulatedWorker


class Files:
    """Writes the files that users write, and reads what a sweep wrote."""

    @staticmethod
    def write(path: Path, text: str) -> Path:
        """Write ``text`` without its common indent; return ``path``."""
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    @staticmethod
    def records(folder: Path) -> list[Record]:
        """Every record of a run, of which none may be broken."""
        records, warnings = read_records(folder / RECORDS)
        assert warnings == []
        return records


@pytest.fixture(scope="session")
def files() -> type[Files]:
    """`Files`."""
    return Files
