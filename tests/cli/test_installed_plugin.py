"""Names that an installed package brings: they are listed, measured, and part of a run."""

from __future__ import annotations

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from paraformer_bench.study.run_folder import read_run

pytestmark = pytest.mark.slow

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "their-nets"
version = "{version}"

[project.entry-points."paraformer_bench.plugins"]
nets = "their_nets.plugin"
"""

PLUGIN = """
from torch import nn

from paraformer_bench import register_execution, register_model
from paraformer_bench.parts import SumOfBranches, run_branches


class Colours(nn.Linear):
    def forward(self, images):
        return super().forward(images.mean((2, 3)))


@register_model("theirs", branched=True)
def build(spec):
    \"""A sum of linear maps of the mean colour.\"""
    return SumOfBranches([Colours(spec.channels, spec.classes) for _ in range(spec.depth)])


@register_execution("backwards")
def prepare(model, example):
    \"""The last branch first.\"""
    return run_branches(model, plan)


def plan(place):
    return lambda: lambda x: sum(branch(x) for branch in place.branches[::-1])
"""


@pytest.fixture(scope="module")
def package(files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    (folder / "their_nets").mkdir()
    files.write(folder / "their_nets" / "__init__.py", "")
    files.write(folder / "their_nets" / "plugin.py", PLUGIN)
    return folder


@pytest.fixture(scope="module")
def sites(files, install, package: Path, tmp_path_factory: pytest.TempPathFactory):
    """Folders in which two versions of the package are installed."""
    found = {}
    for version in ("1.0", "1.1"):
        files.write(package / "pyproject.toml", PROJECT.format(version=version))
        found[version] = tmp_path_factory.mktemp("site")
        install(package, found[version])
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("installed")


@pytest.fixture(scope="module")
def swept(cli, sites, folder: Path) -> CompletedProcess[str]:
    """A sweep of one block over the names that the package brings."""
    arguments = ["--device", "cpu", "--suite", "smoke", "--models", "theirs", "--depth", "1,3"]
    arguments += ["--executions", "loop,backwards", "--runtimes", "eager", "--blocks", "1"]
    arguments += ["--profile", "none"]
    return cli("sweep", *arguments, "--out", "run", cwd=folder, path=sites["1.0"])


def test_list_names_their_source(cli, sites, tmp_path: Path) -> None:
    result = cli("list", cwd=tmp_path, path=sites["1.0"])
    assert result.returncode == 0, result.stderr
    for name, summary in (
        ("theirs", "A sum of linear maps of the mean colour."),
        ("backwards", "The last branch first."),
    ):
        row = next(line for line in result.stdout.splitlines() if f" {name} " in line)
        assert summary in row
        assert "their_nets.plugin" in row


def test_sweep_measures_them(swept: CompletedProcess[str], files, folder: Path) -> None:
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert sorted(
        (r.case.execution, r.case.depth, r.status) for r in files.records(folder / "run")
    ) == [(execution, depth, "ok") for execution in ("backwards", "loop") for depth in (1, 3)]


def test_run_and_page_name_their_version(swept, folder: Path) -> None:
    info = read_run(folder / "run").info
    assert info.installed_plugins == {"their-nets": "1.0"}
    assert info.identity["installed_plugins"] == {"their-nets": "1.0"}
    page = (folder / "run" / "index.html").read_text(encoding="utf-8")
    assert "installed plugins" in page
    assert "their-nets" in page


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_run_is_resumed_with_the_same_version_only(
    cli, sites, swept, folder: Path, version: str
) -> None:
    result = cli("sweep", "--resume", "--dry-run", "--out", "run", cwd=folder, path=sites[version])
    if version == "1.0":
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 2
        assert result.stderr == (
            "error: cannot resume run: installed plugins changed since it was begun; "
            "start a new run instead\n"
        )
