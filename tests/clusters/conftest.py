"""The real commands on a machine that is made up, whose times depend on case and block alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Done, Event, Ready
from paraformer_bench.study.job import BlockJob, Job
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.run import run_sweep
from tests.simulated import Events

SUITE = """
name = "clustered"

[protocol]
blocks = 5
rounds = 2

[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
runtimes = ["eager", "graph"]
depth = [1, 2, 4]
width = [64, 128]
tokens = 17
"""
"""Two groups of nine cases that run and nine that do not."""


class Worker:
    """Plays a worker; every time follows from the case and the block. It can do nothing else."""

    def __init__(self, job: Job, cluster: Cluster) -> None:
        self._events = self._play(job, cluster) if isinstance(job, BlockJob) else iter(())

    def next_event(self, seconds: float) -> Event | None:
        return next(self._events, None)

    def close(self) -> str:
        return "the worker exited with code 0"

    @staticmethod
    def _play(job: BlockJob, cluster: Cluster) -> Iterator[Event]:
        yield Ready()
        for order, case in enumerate(job.cases, start=job.first_order):
            if cluster.interrupt(case, job.block):
                raise KeyboardInterrupt
            chance = random.Random(f"{case.id}/{job.block}")
            serial = case.execution == "loop"
            scale = 1e-3 * (case.depth if serial else 1) * chance.gauss(1, 0.01)
            yield Events.prepared(case, order, parameter_bytes=64 * case.depth)
            for _ in range(job.protocol.rounds):
                yield Events.sampled(case, [scale * chance.gauss(1, 0.01) for _ in range(5)])
            yield Events.finished(case)
        yield Done()


class Cluster:
    """Runs the command line in this process, on a machine that tests may change.

    Attributes:
        survey: What the machine is.
        interrupt: Says whether Ctrl-C comes before a case of a block.
    """

    def __init__(
        self,
        survey: Survey,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.survey = survey
        self._monkeypatch = monkeypatch
        self.interrupt: Callable[[Case, int], bool] = lambda case, block: False
        self._capsys = capsys

    def host(self, name: str) -> None:
        """Go to another machine of the same kind."""
        environment = self.survey.environment | {"host": {"name": name, "system": "Linux"}}
        cpu = environment["cpu"] | {"load_average": len(name)}
        self.survey = replace(self.survey, environment=environment | {"cpu": cpu})

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command; return its exit code and what it said on either stream."""
        code = main([str(argument) for argument in arguments])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def sweep(self, out: object, *arguments: object, code: int = 0) -> Path:
        """Sweep the suite of these tests, without its report: there are many shards."""
        options = ("--suite", "clustered.toml", "--profile", "none", "--out", out)
        with self._monkeypatch.context() as patched:
            patched.setattr("paraformer_bench.sweep.command._report", lambda *_: None)
            result = self("sweep", *options, *arguments)
        assert result[0] == code, result
        return Path(str(out))

    def shards(self, of: int, *arguments: object) -> list[Path]:
        """Sweep every shard, each on a host of its own."""
        folders = []
        for number in range(1, of + 1):
            self.host(f"node{number}")
            folders.append(self.sweep(f"s{number}", "--shard", f"{number}/{of}", *arguments))
        return folders

    def merge(self, *folders: object, out: str = "merged") -> str:
        """Merge folders and return what was said."""
        code, said, errors = self("merge", *folders, "--out", out)
        assert (code, errors) == (0, ""), errors
        return said

    def refused(self, *folders: object, out: str = "merged") -> str:
        """Merge folders that must be refused with nothing written; return the message."""
        before = contents(Path())
        code, said, errors = self("merge", *folders, "--out", out)
        assert (code, said) == (2, "")
        [line] = errors.splitlines()
        assert line.startswith("error: ")
        assert contents(Path()) == before
        return line.removeprefix("error: ")


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def contents_of() -> Callable[[Path], dict[Path, bytes | None]]:
    return contents


@pytest.fixture
def cluster(
    survey_of: Callable[..., Survey],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cluster:
    cluster = Cluster(survey_of(), capsys, monkeypatch)
    sweep = "paraformer_bench.sweep"
    monkeypatch.setattr(f"{sweep}.setup.take_survey", lambda plugins: cluster.survey)
    start = partial(run_sweep, start=lambda job: Worker(job, cluster))
    monkeypatch.setattr(f"{sweep}.command.run_sweep", start)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clustered.toml").write_text(SUITE)
    return cluster
