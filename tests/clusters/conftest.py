"""The real commands on a machine that is made up, whose times depend on case and block alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.study.case import Case
from paraformer_bench.study.job import BlockJob, Protocol
from paraformer_bench.study.survey import Survey

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
    """Plays the events of a worker; every time follows from the case and the block."""

    def __init__(self, job: BlockJob, cluster: Cluster) -> None:
        self._events = self._play(job, cluster.interrupt, cluster.slowness)

    def next_event(self, seconds: float) -> dict[str, Any] | None:
        return next(self._events, None)

    def close(self) -> str:
        return "the worker exited with code 0"

    @staticmethod
    def _play(
        job: BlockJob, interrupt: Callable[[Case, int], bool], slowness: float
    ) -> Iterator[dict[str, Any]]:
        yield {"event": "ready"}
        cases = [case for group in job.groups for case in group]
        for order, case in enumerate(cases, start=job.first_order):
            if interrupt(case, job.block):
                raise KeyboardInterrupt
            chance = random.Random(f"{case.id}/{job.block}")
            serial = case.execution == "loop"
            scale = 1e-3 * slowness * (case.depth if serial else 1) * chance.gauss(1, 0.01)
            facts = {"parameter_bytes": 64 * case.depth}
            prepared = {"order": order, "facts": facts, "null_reasons": {}}
            yield {"event": "prepared", "case_id": case.id, **prepared}
            for _ in range(job.protocol.rounds):
                wall = [scale * chance.gauss(1, 0.01) for _ in range(5)]
                rest = {"device_seconds": [], "dry": 0, "reading": {}}
                yield {"event": "sampled", "case_id": case.id, "wall_seconds": wall, **rest}
            ending = {"status": "ok", "reason": None, "flags": []}
            yield {"event": "finished", "case_id": case.id, **ending}
        yield {"event": "done"}


class Cluster:
    """Runs the command line in this process, on a machine that tests may change.

    Attributes:
        survey: What the machine is.
        interrupt: Says whether Ctrl-C comes before a case of a block.
        slowness: By how much every time is longer.
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
        self.slowness = 1.0
        self._capsys = capsys

    def host(self, name: str) -> None:
        """Go to another machine of the same kind."""
        environment = self.survey.environment | {"host": {"name": name, "system": "Linux"}}
        cpu = environment["cpu"] | {"load_average": len(name)}
        self.survey = replace(self.survey, environment=environment | {"cpu": cpu})

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command; return its exit code and what it said on either stream."""
        from paraformer_bench.__main__ import main

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
    monkeypatch.setattr(f"{sweep}.launcher.LocalWorker", lambda job: Worker(job, cluster))
    monkeypatch.setattr(f"{sweep}.command.note_ceilings", lambda *asked: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clustered.toml").write_text(SUITE)
    return cluster


def make_case(depth: int, **fields: Any) -> Case:
    shape = {"width": 64, "heads": 1, "image": 64, "patch": 16, "branch_depth": 1}
    method = {"model": "serial", "execution": "loop", "runtime": "eager"}
    regime = {"batch": 1, "dtype": "float32", "device": "cpu"}
    return Case.of(**(method | shape | regime | {"depth": depth} | fields))


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    return make_case


@pytest.fixture(scope="session")
def job_of() -> Callable[..., BlockJob]:
    def make_job(groups: list[list[Case]], block: int = 0, **fields: Any) -> BlockJob:
        protocol = Protocol(blocks=2, rounds=3, timeout_seconds=7.0)
        return BlockJob(
            device="cpu", block=block, protocol=protocol, seed=0, groups=groups, **fields
        )

    return make_job
