"""What asv does differently here: its environments, its machine file, the samples it keeps."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("asv")

from asv.commands.run import Run
from asv.config import Config
from asv.environment import EnvironmentUnavailable
from asv.machine import MachineCollection

import asv_plugin
from paraformer_bench.study.survey import Survey

ROOT = Path(__file__).parents[2]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def conf(tmp_path: Path) -> Config:
    """The configuration of this repository, but for where things are put."""
    conf = Config.load(str(ROOT / "asv.conf.json"))
    conf.env_dir = str(tmp_path / "env")
    return conf


def test_the_configuration_says_where_things_are(conf: Config) -> None:
    assert (ROOT / conf.benchmark_dir / "nets.py").is_file()
    assert conf.launch_method == "spawn"
    assert [ROOT / f"{name.removeprefix('.')}.py" for name in conf.plugins] == [
        Path(asv_plugin.__file__)
    ]
    # Tracked by git, unlike all else in reports/.
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", f"{conf.results_dir}/x/y.json"], cwd=ROOT, check=False
    )
    if ignored.returncode == 128:
        pytest.skip("not in a repository")
    assert ignored.returncode == 1


def test_counts_and_nothing_else_must_not_rise_at_all(conf: Config) -> None:
    ((pattern, threshold),) = conf.regressions_thresholds.items()
    assert threshold == 0
    for name in ("parameter_bytes", "flops", "operations"):
        assert re.match(pattern, f"nets.Counts.track_{name}('serial', 'loop')@HEAD")
    assert not re.match(pattern, "nets.CpuInference.track_latency('serial', 'loop')@HEAD")


WHERE = """
from importlib.util import find_spec
print(*[spec and spec.origin for spec in map(find_spec, {})])
"""


def test_an_environment_has_the_packages_of_this_python_and_downloads_nothing(
    conf: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "VIRTUALENV_NO_DOWNLOAD"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/nothing")
    environment = asv_plugin.Overlay(conf, PYTHON, {}, {})
    environment.create()
    ask = ["-c", WHERE.format(("torch", "hatchling"))]
    here = subprocess.run([sys.executable, *ask], cwd=tmp_path, capture_output=True, text=True)
    assert environment.run(ask, cwd=tmp_path) == here.stdout
    # This checkout is not there, although this very Python may have it as an editable install.
    found = environment.run(["-c", WHERE.format(("paraformer_bench",))], cwd=tmp_path)
    assert found.strip() != str(ROOT / "paraformer_bench" / "__init__.py")


def test_what_is_installed_in_the_environment_comes_first(conf: Config) -> None:
    environment = asv_plugin.Overlay(conf, PYTHON, {}, {})
    environment.create()
    (packages,) = Path(environment._path).glob("lib*/**/site-packages")
    (packages / "click.py").write_text("", encoding="utf-8")
    found = environment.run(["-c", WHERE.format(("click",))])
    assert Path(found.strip()) == packages / "click.py"


def test_another_python_is_declined(conf: Config) -> None:
    with pytest.raises(EnvironmentUnavailable, match=r"not 2\.7"):
        asv_plugin.Overlay(conf, "2.7", {}, {})


class Machines:
    """asv's machine file, in a home of its own."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(MachineCollection, "get_machine_file_path", lambda: str(path))
        self._monkeypatch = monkeypatch

    def have(self, torch: str, gpus: dict[str, Any]) -> None:
        survey = Survey({}, {}, {}, {"gpus": gpus}, {"torch": torch})
        self._monkeypatch.setattr(asv_plugin, "take_survey", lambda: survey)


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(tmp_path / "asv-machine.json", monkeypatch)


def test_a_new_machine_is_described_without_questions(machines: Machines) -> None:
    machines.have("2.13.0+cu130", {"cuda:0": {"name": "NVIDIA H100", "driver": "580.1"}})
    asv_plugin.note_machine("one")
    known = MachineCollection.load("one")
    assert {"machine", "cpu", "ram", "os"} <= known.keys()
    assert (known["gpu"], known["driver"]) == ("NVIDIA H100", "580.1")
    assert known["torch"] == "2.13.0+cu130"


def test_a_known_machine_keeps_what_was_said_of_it_and_learns_what_is_new(
    machines: Machines,
) -> None:
    machines.have("2.12.0+cpu", {})
    MachineCollection.save("one", {"machine": "one", "cpu": "mine", "torch": "2.6.0"})
    asv_plugin.note_machine("one")
    known = MachineCollection.load("one")
    assert (known["cpu"], known["torch"]) == ("mine", "2.12.0+cpu")
    assert (known["gpu"], known["driver"]) == ("none", "none")


def test_asv_run_keeps_samples(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.have("2.13.0", {})
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(Run, "run_from_conf_args", lambda conf, args: seen.append(args))
    before = asv_plugin.Continuous.run_from_conf_args
    asv_plugin.setup()
    try:
        Run.run_from_conf_args(None, argparse.Namespace(machine="one", record_samples=False))
    finally:
        asv_plugin.Continuous.run_from_conf_args = before
    assert [args.record_samples for args in seen] == [True]
    assert MachineCollection.load("one")["torch"] == "2.13.0"
