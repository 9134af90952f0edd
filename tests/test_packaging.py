"""What is shipped, what is pinned, and how `make` sets up its environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import paraformer_bench

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "paraformer_bench"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
MAKE = shutil.which("make")


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Build the wheel as pip does and return its files by name."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: dict[str, bytes], name: str) -> str:
    (path,) = (path for path in wheel if path.endswith(f".dist-info/{name}"))
    return wheel[path].decode()


def test_version_of_the_wheel_is_that_of_the_package(wheel: dict[str, bytes]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", paraformer_bench.__version__)
    assert Parser().parsestr(metadata(wheel, "METADATA"))["Version"] == (
        paraformer_bench.__version__
    )


def test_wheel_carries_the_suites_but_not_the_asv_benchmarks(wheel: dict[str, bytes]) -> None:
    suites = {path.name: path.read_bytes() for path in (ROOT / "suites").glob("*.toml")}
    assert suites, "no suite to ship"
    prefix = "paraformer_bench/suites/"
    shipped = {n.removeprefix(prefix): data for n, data in wheel.items() if n.startswith(prefix)}
    assert shipped == suites


def test_wheel_carries_the_package_and_nothing_else(wheel: dict[str, bytes]) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."
    }
    shipped = {name for name in wheel if not name.startswith("paraformer_bench/suites/")}
    extra = {name for name in shipped - files if ".dist-info/" not in name}
    assert files <= shipped
    assert not extra


def test_wheel_declares_the_command_and_the_license(wheel: dict[str, bytes]) -> None:
    entries = ConfigParser()
    entries.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(entries["console_scripts"]) == {
        "paraformer-bench": "paraformer_bench.__main__:main"
    }
    assert Parser().parsestr(metadata(wheel, "METADATA"))["License-Expression"] == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)


def test_every_package_folder_has_an_init() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert PACKAGE in folders
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_what_pyproject_names(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}

    def asked(requirement: Requirement) -> bool:
        return requirement.marker is None or requirement.marker.evaluate(environment)

    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if not text or not asked(pin := Requirement(text)):
            continue
        (specifier,) = pin.specifier
        name = canonicalize_name(pin.name)
        assert specifier.operator == "==", text
        assert "*" not in specifier.version, text
        assert name not in pins, f"{name} is pinned twice"
        pins[name] = specifier.version

    table = project()
    named = [*table["dependencies"], *table["optional-dependencies"]["dev"]]
    for requirement in filter(asked, map(Requirement, named)):
        version = pins[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} against {version}"


FAKE_PYTHON = """\
#!/bin/sh
# Stands in for Python: notes what it is asked, and makes an environment that holds itself.
echo "$*" >> "$LOG"
case "$*" in
    "-c "*) exit "${FAKE_TOO_OLD:-0}" ;;
    "--version") echo "Python 3.x" ;;
    "-m venv "*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install "*) exit "${FAKE_INSTALL:-0}" ;;
    "-m asv run "*) exit "${FAKE_ASV:-0}" ;;
esac
"""


class Make:
    """A checkout in a folder whose name has a space, with a Python that installs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ready = folder / ".venv" / ".ready"
        self._log = folder / "log"
        self._python = folder / "python"
        folder.mkdir()
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        self._python.write_text(FAKE_PYTHON, encoding="utf-8")
        self._python.chmod(0o755)

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        assert MAKE is not None
        self._log.write_text("", encoding="utf-8")
        # A `make` around this test must not hand its own flags and variables down.
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
        clean = {k: v for k, v in clean.items() if k not in ("ARGS", "RUN", "COMMITS", "PYTHON")}
        return subprocess.run(
            [MAKE, *words, "PYTHON=./python"],
            cwd=self.folder,
            env=clean | {"LOG": str(self._log)} | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        """What Python was asked in the last run."""
        return self._log.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    if MAKE is None:
        pytest.skip("no make on this machine")
    return Make(tmp_path / "a check out")


def test_make_installs_once_and_passes_arguments_on(make: Make) -> None:
    first = make("sweep", "ARGS=--budget 8m --suite standard")
    assert first.returncode == 0, first.stderr
    assert make.asked[-1] == "-m paraformer_bench sweep --budget 8m --suite standard"
    (install,) = (line for line in make.asked if line.startswith("-m pip install"))
    assert "--constraint constraints.txt --editable .[dev]" in install

    make("test", "ARGS=-x tests")
    [asked] = make.asked
    assert asked.startswith("-m pytest ")
    assert asked.endswith(" -x tests")
    make("report")
    assert make.asked == ["-m paraformer_bench report"]
    make("report", "RUN=reports/x")
    assert make.asked == ["-m paraformer_bench report reports/x"]


def test_make_asv_measures_new_commits_and_publishes_even_if_a_benchmark_failed(
    make: Make,
) -> None:
    after = [
        "-m asv publish --no-pull",
        "-m paraformer_bench regressions --out reports/regressions",
    ]
    make("asv")
    assert make.asked[-3:] == ["-m asv run --skip-existing HEAD -3", *after]
    assert make("asv", "COMMITS=10", FAKE_ASV="2").returncode == 0
    assert make.asked == ["-m asv run --skip-existing HEAD -10", *after]
    assert make("asv", FAKE_ASV="1").returncode != 0
    assert make.asked == ["-m asv run --skip-existing HEAD -3"]


def test_make_installs_again_when_the_pins_change(make: Make) -> None:
    make("setup")
    later = make.ready.stat().st_mtime + 10
    os.utime(make.folder / "constraints.txt", (later, later))
    make("setup")
    assert any(line.startswith("-m pip install") for line in make.asked)


def test_make_never_takes_a_failed_install_for_a_good_one(make: Make) -> None:
    assert make("test", FAKE_INSTALL="1").returncode != 0
    assert not make.ready.exists()
    assert not any("pytest" in line for line in make.asked)
    # Nor one that fails after an earlier one went well.
    assert make("test").returncode == 0
    later = make.ready.stat().st_mtime + 10
    os.utime(make.folder / "pyproject.toml", (later, later))
    assert make("test", FAKE_INSTALL="1").returncode != 0
    assert not make.ready.exists()


def test_make_names_the_python_it_needs(make: Make) -> None:
    done = make("test", FAKE_TOO_OLD="1")
    assert done.returncode != 0
    assert "needs Python 3.10 to 3.13; ./python is Python 3.x" in done.stderr
    assert not (make.folder / ".venv").exists()


def test_make_alone_lists_every_target(make: Make) -> None:
    listed = [line.split()[0] for line in make().stdout.splitlines()[1:]]
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert listed == phony.split()
    assert make.asked == []
