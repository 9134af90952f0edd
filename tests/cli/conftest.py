"""A recorded run, a net that can be held, and commands that must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.study.plugins import load_plugins
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import Efficiency, RunInfo
from paraformer_bench.study.suite import expand, load_suite, override
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep.store import Store

Write = Callable[..., Path]

HELD = """
import gc
import time
from pathlib import Path

from torch import nn

from paraformer_bench import register_model

GATE, HELD = Path({gate!r}), Path({held!r})


class Held(nn.Module):
    def forward(self, images):
        # The collector is off in timed calls and nowhere else.
        while GATE.exists() and not gc.isenabled():
            HELD.touch()
            time.sleep(0.01)
        return images.mean((2, 3))


@register_model("held")
def build(spec):
    return Held()
"""


@dataclass(frozen=True)
class Held:
    """A plugin with the model ``held``, whose timed calls wait.

    Attributes:
        plugin: The plugin file.
        gate: They wait as long as this file is there.
        held: This file is there once one of them waits.
    """

    plugin: Path
    gate: Path
    held: Path


@pytest.fixture
def held(files, tmp_path: Path) -> Iterator[Held]:
    gate, sign = tmp_path / "gate", tmp_path / "held"
    plugin = files.write(tmp_path / "held.py", HELD.format(gate=str(gate), held=str(sign)))
    yield Held(plugin, gate, sign)
    gate.unlink(missing_ok=True)  # whatever became of the test, nobody waits on


@pytest.fixture
def write_run(survey_of: Callable[..., Survey]) -> Write:
    """Write a run folder as a sweep leaves it: a serial net that takes ``scale`` ms a layer."""

    def write(folder: Path, scale: float = 1.0, blocks: int = 4) -> Path:
        suite = override(load_suite("smoke"), {"models": ["serial"], "runtimes": ["eager"]})
        survey = survey_of()
        info = RunInfo(
            name=folder.name,
            suite=suite.table(),
            command=["python", "-m", "paraformer_bench", "sweep"],
            started="2026-01-02T03:04:05+00:00",
            finished="2026-01-02T03:05:06+00:00",
            device="cpu",
            seed=0,
            plugins=[],
            identity={},
            environment=survey.environment,
            versions={**survey.versions},
            efficiency=Efficiency(61.0, 45.0, 0.7377),
        )
        with Store.create(folder, info) as store:
            for block in range(blocks):
                for case in expand(suite, survey, "cpu"):
                    wall = [1e-3 * scale * case.depth + 1e-6 * block] * 10
                    record = Record(
                        case=case,
                        block=block,
                        order=0,
                        status="ok",
                        wall_seconds=wall,
                        rounds=[10],
                    )
                    store.append([record])
        return folder

    return write


Refuse = Callable[..., str]


@pytest.fixture
def gpus() -> int:
    """GPUs of the canned machine."""
    return 0


@pytest.fixture
def refused(
    survey_of: Callable[..., Survey],
    gpus: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Refuse:
    """Run a command in this process; check how it was refused and return its message.

    What a child process would tell of this machine is canned; plugins are really loaded.
    """

    def take_survey(plugins: Iterable[Path]) -> Survey:
        load_plugins(plugins)
        return survey_of(gpus)

    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", take_survey)
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: str) -> str:
        before = contents(tmp_path)
        code = main(arguments)
        output = capsys.readouterr()
        return message_of(code, output.out, output.err, contents(tmp_path) == before)

    return refuse


@pytest.fixture
def refused_process(cli, tmp_path: Path) -> Refuse:
    """The same in a process of its own, as users run it."""

    def refuse(*arguments: str) -> str:
        before = contents(tmp_path)
        result = cli(*arguments, cwd=tmp_path)
        untouched = contents(tmp_path) == before
        return message_of(result.returncode, result.stdout, result.stderr, untouched)

    return refuse


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def message_of(code: int, out: str, err: str, untouched: bool) -> str:
    """Check that a command was refused in one line and wrote nothing; return its message."""
    assert code == 2
    assert "Traceback" not in out + err
    [line] = err.splitlines()
    kind, _, message = line.partition(": ")
    assert kind == "error"
    assert message.strip()
    assert untouched
    return message
