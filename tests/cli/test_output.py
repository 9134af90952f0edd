"""Output that nobody reads: no command stops for it, and no exit code changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paraformer_bench.study.run_folder import PAGE, read_run


@pytest.fixture
def deaf() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def unheard(cli, deaf: int, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run a command whose stdout nobody reads; return its exit code and what is on stderr."""

    def run(*arguments: object, **options: int) -> tuple[int, str]:
        process = cli.start(*arguments, cwd=tmp_path, stdout=deaf, **options)
        _, errors = process.communicate(timeout=100)
        return process.returncode, errors or ""

    return run


@pytest.mark.parametrize("arguments", [["list", "suites"], ["--help"], ["sweep", "--help"]])
def test_text_alone(unheard, arguments: list[str]) -> None:
    assert unheard(*arguments) == (0, "")


def test_pages_are_written(unheard, write_run, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    assert unheard("report", runs[0]) == (0, "")
    assert (runs[0] / PAGE).exists()


def test_compare_has_the_code_of_its_verdict(unheard, write_run, tmp_path: Path) -> None:
    fast, slow = write_run(tmp_path / "fast"), write_run(tmp_path / "slow", scale=1.5)
    assert unheard("compare", fast, slow) == (1, "")
    assert unheard("compare", slow, fast) == (0, "")


def test_refused_without_a_word(unheard, deaf: int) -> None:
    assert unheard("report", "nowhere", stderr=deaf) == (2, "")


@pytest.mark.slow
def test_sweep_measures_to_its_end(unheard, files, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ["--device", "cpu", "--models", "serial", "--depth", "1,2", "--blocks", "1"]
    asked += ["--profile", "none"]
    assert unheard("sweep", "--suite", "smoke", *asked, "--out", run) == (0, "")
    assert {record.case.depth for record in files.records(run)} == {1, 2}
    assert read_run(run).info.finished
    assert (run / PAGE).exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", [["list", "suites"], ["--help"]])
def test_full_disk_is_another_matter(cli, command: list[str], tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = cli.start(*command, cwd=tmp_path, stdout=full.fileno())
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors) == (2, "error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_under_stderr(cli, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = cli.start("report", "nowhere", cwd=tmp_path, stderr=full.fileno())
    assert process.wait(timeout=100) == 2


@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_heard_text_is_whole(cli, unbuffered: list[str], tmp_path: Path) -> None:
    here = cli.python(*unbuffered, "-m", "paraformer_bench", "list", "suites", cwd=tmp_path)
    assert (here.returncode, here.stderr) == (0, "")
    assert here.stdout.count("smoke.toml") == 1
    assert here.stdout.endswith("\n")


def test_closed_from_the_start(cli, tmp_path: Path) -> None:
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = cli.python("-c", code, "-m", "paraformer_bench", "list", "suites", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
