"""The parent process starts at once: none of its commands but the measuring ones loads torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "seaborn")

# Runs commands one after the other and prints what each has caused to be imported.
WITNESS = """
import contextlib, io, json, sys
from paraformer_bench.__main__ import main
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = main(command)
    print(json.dumps([code, len(said.getvalue()), sorted(set(sys.modules))]))
"""


@pytest.fixture
def run(cli, tmp_path: Path):
    """Run commands in one fresh process; return exit code and imported modules after each."""

    def run(*commands: list[str]) -> list[tuple[int, set[str]]]:
        result = cli.python("-c", WITNESS, json.dumps(commands), cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert all(length > 0 for _, length, _ in found)
        return [(code, set(modules)) for code, _, modules in found]

    return run


def test_help_and_lists_load_nothing_heavy(run) -> None:
    commands = [
        ["--help"],
        ["--version"],
        ["sweep", "--help"],
        ["profile", "--help"],
        ["regressions", "--help"],
        ["merge", "--help"],
        ["list", "suites"],
    ]
    for code, modules in run(*commands):
        assert code == 0
        assert modules.isdisjoint(HEAVY)


def test_language_of_the_house_loads_only_itself(cli, tmp_path: Path) -> None:
    names = [f"study.{name}" for name in ("suite", "survey", "registry", "record", "run_folder")]
    names += ["cli", "sweep.command"]
    code = (
        "import sys; before = set(sys.modules); import click, rich.progress, rich.table, psutil\n"
    )
    code += "".join(f"import paraformer_bench.{name}\n" for name in names)
    code += "print(*sorted(sys.modules))"
    result = cli.python("-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    modules = set(result.stdout.split())
    assert modules.isdisjoint(HEAVY)
    own = {name for name in modules if name.startswith("paraformer_bench.")}
    assert "paraformer_bench.sweep.store" in own
    packages = ("instrument", "models.", "executions.", "runtimes.", "analysis", "report")
    assert not [n for n in own if n.removeprefix("paraformer_bench.").startswith(packages)]


def test_listing_names_imports_none_of_them(cli, tmp_path: Path) -> None:
    code = (
        "import sys; from paraformer_bench.study.registry import MODELS, EXECUTIONS, RUNTIMES\n"
        "print(MODELS.names(), EXECUTIONS.names(), RUNTIMES.names(), 'torch' in sys.modules)"
    )
    result = cli.python("-c", code, cwd=tmp_path)
    assert "'serial'" in result.stdout
    assert "'stacked'" in result.stdout
    assert "'eager'" in result.stdout
    assert result.stdout.endswith("False\n")


def test_judging_a_run_loads_no_torch(run, write_run, tmp_path: Path) -> None:
    recorded = write_run(tmp_path / "recorded")
    commands = [["report", str(recorded)], ["compare", str(recorded), str(recorded)]]
    for code, modules in run(*commands):
        assert code == 0
        assert "torch" not in modules
        assert not [n for n in modules if n.startswith("paraformer_bench.instrument")]
    assert (recorded / "index.html").exists()


@pytest.mark.slow
def test_looking_at_the_machine_loads_no_torch(run) -> None:
    for code, modules in run(["list"], ["doctor"]):
        assert code == 0
        assert modules.isdisjoint(HEAVY)
