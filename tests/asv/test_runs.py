"""How one commit is measured: what is asked of its command line, and what its answers lead to."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("asv")

from paraformer_bench.study.suite import load_suite
from suites import runs
from tests.asv.conftest import MakeRun

ROOT = Path(__file__).parents[2]

Answer = Callable[[str, str], tuple[int, str]]
"""Options and suite of a sweep to its exit code and last line."""
Commit = Callable[[Answer], list[tuple[str, str]]]
"""Puts a commit that answers so in place; returns what it will have been asked."""


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commit:
    """Put a commit in place whose ``sweep`` answers to its options and its suite."""
    monkeypatch.chdir(tmp_path)

    def put(answer: Answer) -> list[tuple[str, str]]:
        asked: list[tuple[str, str]] = []

        def command(*arguments: str) -> tuple[int, str]:
            assert arguments[0] == "sweep"
            suite = Path(arguments[arguments.index("--suite") + 1]).read_text(encoding="utf-8")
            asked.append((" ".join(arguments), suite))
            return answer(*asked[-1])

        monkeypatch.setattr(runs, "_command", command)
        return asked

    return put


def test_the_sweep_is_asked_once_and_its_run_is_read(
    tmp_path: Path, commit: Commit, make_run: MakeRun
) -> None:
    def answer(options: str, suite: str) -> tuple[int, str]:
        make_run().rename(tmp_path / "run-cpu")
        return 3, "1 records ended as error"

    asked = commit(answer)
    cache = runs.measure("cpu", ("eager",))
    ((options, suite),) = asked
    assert "--device cpu" in options
    assert "--profile none" in options
    assert 'mode = "train"' in suite
    assert cache["refused"] is None
    assert cache["folder"] == str(tmp_path / "run-cpu")


def test_an_old_commit_is_asked_for_what_it_knows(
    tmp_path: Path, commit: Commit, make_run: MakeRun
) -> None:
    def answer(options: str, suite: str) -> tuple[int, str]:
        if "--profile" in options:
            return 2, "error: No such option: --profile"
        if "train" in suite:
            return 2, "error: unknown mode 'train': known: inference"
        make_run().rename(tmp_path / "run-cpu")
        return 0, "constant"

    asked = commit(answer)
    cache = runs.measure("cpu", ("eager",))
    assert cache["refused"] is None
    assert cache["declined"] == {"train": "error: unknown mode 'train': known: inference"}
    assert len(asked) == 3
    assert 'mode = "inference"' in asked[-1][1]


def test_a_refusal_is_kept_in_its_own_words(
    commit: Commit,
) -> None:
    asked = commit(lambda options, suite: (2, "error: device cuda:0 is not there"))
    assert runs.measure("cuda:0", ("eager",)) == {"refused": "error: device cuda:0 is not there"}
    assert len(asked) == 1


def test_a_commit_that_breaks_is_an_error(
    commit: Commit,
) -> None:
    commit(lambda options, suite: (1, "ImportError: no module named x"))
    with pytest.raises(RuntimeError, match="exit code 1: ImportError: no module named x"):
        runs.measure("cpu", ("eager",))


def test_todays_sweep_takes_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "asv.toml"
    path.write_text(runs.suite_text(["inference", "batch", "train"], ("eager", "graph")))
    suite = load_suite(str(path))
    assert suite.protocol.blocks == runs.BLOCKS
    assert [(grid.depth, grid.batch, grid.mode) for grid in suite.grids] == [
        (runs.DEPTHS, (1,), ("inference",)),
        ((runs.SHALLOW,), (runs.BATCH,), ("inference",)),
        ((runs.SHALLOW,), (1,), ("train",)),
    ]


def test_a_command_is_that_of_the_installed_commit(tmp_path: Path) -> None:
    code, said = runs._command("sweep", "--suite", "no-such-suite")
    assert code == 2
    assert re.match("error: unknown suite 'no-such-suite'", said)


def test_the_sweep_has_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "paraformer_bench"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import os; print(os.environ['OMP_NUM_THREADS'])")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert runs._command("sweep") == (0, "1")


def test_the_benchmarks_import_nothing_of_the_package() -> None:
    see = "import sys, suites.nets, suites.cost; print([m for m in sys.modules if 'para' in m])"
    done = subprocess.run([sys.executable, "-c", see], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
