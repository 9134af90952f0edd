"""An exception that nobody foresaw: not the exit code of a finding, and nothing is kept back."""

from __future__ import annotations

from pathlib import Path

import pytest

from paraformer_bench.__main__ import main

FORESEEN = {0, 1, 2, 3, 130}


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch):
    """Let `report` fail with an exception."""

    def fails(error: BaseException) -> None:
        def build_report(folder: Path) -> Path:
            raise error

        monkeypatch.setattr("paraformer_bench.report.command.build_report", build_report)

    return fails


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("depth"), "KeyError: 'depth'"),
        (ValueError("a\nb"), "ValueError: a b"),
    ],
)
def test_traceback_and_a_line_that_names_the_exception(
    fails, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, words: str
) -> None:
    fails(error)
    assert main(["report", str(tmp_path)]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert any("in build_report" in line for line in lines)
    assert lines[-1].startswith(f"error: {words}: this is a defect of paraformer_bench; ")


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), SystemExit(1)])
def test_nothing_else_has_the_code_of_a_finding(
    fails, tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    """That of click for a broken pipe that is not stdout's, and of a library that exits."""
    fails(error)
    assert main(["report", str(tmp_path)]) not in FORESEEN
    assert "Traceback" in capsys.readouterr().err


def test_code_of_the_process(cli, tmp_path: Path) -> None:
    code = """
import sys
from paraformer_bench import __main__, console
console.print_catalogue = None
sys.exit(__main__.main(["list"]))
"""
    done = cli.python("-c", code, cwd=tmp_path)
    assert done.returncode == 70
    assert "TypeError: 'NoneType' object is not callable: this is a defect" in done.stderr
