"""Going on with a run: whole blocks, more blocks, torn lines, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from paraformer_bench.__main__ import main
from paraformer_bench.study.case import REFERENCE_AXES
from paraformer_bench.study.registry import ExecutionTraits, ModelTraits, RuntimeTraits
from paraformer_bench.study.run_folder import JOURNAL, RECORDS, RUN, read_lines, read_run
from paraformer_bench.study.survey import Survey

pytestmark = pytest.mark.slow

PLUGIN = """
from torch import nn

from paraformer_bench import register_model


@register_model("own")
def build(spec):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""

SUITE = """
[protocol]
blocks = 4
rounds = 2
seconds_per_case = 0.05

[[grid]]
models = ["serial", "own"]
depth = [1, 2]
width = 64
tokens = 17
"""

# The command itself, which afterwards says whether the process has imported torch.
WITNESS = """
import sys
from paraformer_bench.__main__ import main
code = main(sys.argv[1:])
print("torch" if "torch" in sys.modules else "no torch", file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def first(cli, files, folder: Path) -> subprocess.CompletedProcess[str]:
    """A sweep over four blocks whose budget is spent in the first."""
    plugin = files.write(folder / "own.py", PLUGIN)
    suite = files.write(folder / "suite.toml", SUITE)
    arguments = ["--device", "cpu", "--suite", suite, "--plugin", plugin, "--budget", "0.01s"]
    arguments += ["--profile", "none"]
    return cli.python("-c", WITNESS, "sweep", *arguments, "--out", "run", cwd=folder)


@pytest.fixture
def run(first, folder: Path, tmp_path: Path) -> Path:
    """A copy of the first sweep's folder."""
    assert first.returncode == 0, first.stderr
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def test_budget_stops_after_a_whole_block(first, files, folder: Path, run: Path) -> None:
    records = files.records(run)
    assert sorted((r.case.model, r.case.depth, r.block, r.status) for r in records) == [
        ("own", 1, 0, "ok"),
        ("own", 2, 0, "ok"),
        ("serial", 1, 0, "ok"),
        ("serial", 2, 0, "ok"),
    ]
    assert "\n1 block in " in first.stdout
    assert read_run(run).info.finished


def test_parent_of_a_sweep_imports_no_torch(first, run: Path) -> None:
    assert first.stderr == "no torch\n"


def test_torn_line_is_measured_again_and_blocks_are_added(cli, files, run: Path) -> None:
    path = run / RECORDS
    whole = read_lines(path)
    path.write_bytes(b"".join(whole[:-1]) + whole[-1][: len(whole[-1]) // 2])
    result = cli("sweep", "--resume", "--out", run, "--blocks", "2", cwd=run.parent)
    assert result.returncode == 0, result.stderr
    assert "warning: records.jsonl line 4 dropped: torn" in result.stdout
    assert path.read_bytes().startswith(b"".join(whole[:-1]))
    records = files.records(run)
    assert len({r.key for r in records}) == len(records) == 2 * 4
    assert {r.block for r in records} == {0, 1}
    info = read_run(run).info
    assert info.suite["protocol"]["blocks"] == info.protocol["blocks"] == 2
    assert not (run / JOURNAL).exists()


@pytest.fixture
def survey(run: Path, folder: Path) -> Survey:
    """What the child process would say, without loading torch every time."""
    info = read_run(run).info
    return Survey(
        {name: ModelTraits(name=name, axes=REFERENCE_AXES[:-1]) for name in ("serial", "own")},
        {"loop": ExecutionTraits(name="loop", needs_branches=False)},
        {"eager": RuntimeTraits(name="eager")},
        info.environment,
        info.versions,
    )


Refuse = Callable[..., str]


@pytest.fixture
def refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refuse:
    """Run a command that must be refused and leave everything as it was; return its error."""

    def refuse(survey: Survey, *arguments: object) -> str:
        monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey)
        before = {path: path.read_bytes() for path in sorted(run.iterdir())}
        assert main([str(argument) for argument in arguments]) == 2
        assert {path: path.read_bytes() for path in sorted(run.iterdir())} == before
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return refuse


def test_folder_that_holds_a_run_is_not_written_over(refused: Refuse, survey, folder, run) -> None:
    error = refused(survey, "sweep", "--suite", folder / "suite.toml", "--out", run)
    assert error == f"error: {run} already holds a run: add --resume or name another"


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["--depth", "1,2,4"], "suite and cases"),
        (["--width", "128"], "suite and cases"),
        (["--suite", "smoke", "--models", "serial", "--executions", "loop"], "suite and cases"),
    ],
)
def test_changed_suite_is_refused(refused: Refuse, survey, run, arguments, changed) -> None:
    survey.runtimes["graph"] = structs.replace(survey.runtimes["eager"], name="graph")
    error = refused(survey, "sweep", "--resume", "--out", run, *arguments)
    assert error.startswith(f"error: cannot resume {run}: {changed} changed since it was begun")


def test_changed_margin_is_refused(files, refused: Refuse, survey, folder, run) -> None:
    other = files.write(run.parent / "suite.toml", "[claim]\nmargin = 0.2\n" + SUITE)
    error = refused(survey, "sweep", "--resume", "--out", run, "--suite", other)
    assert ": suite changed since it was begun" in error


def test_changed_device_and_torch_are_refused(refused: Refuse, survey, run) -> None:
    devices = survey.environment["devices"] | {"cpu": "another, 64 cores"}
    other = replace(survey, environment=survey.environment | {"devices": devices})
    error = refused(other, "sweep", "--resume", "--out", run)
    assert ": device changed since it was begun" in error
    newer = replace(survey, versions=survey.versions | {"torch": "99.0"})
    error = refused(newer, "sweep", "--resume", "--out", run)
    assert ": torch changed since it was begun" in error


@pytest.fixture
def edited_plugin(first, folder: Path) -> Iterator[None]:
    path = folder / "own.py"
    text = path.read_text()
    path.write_text(text + "# another line\n")
    yield
    path.write_text(text)


@pytest.mark.usefixtures("edited_plugin")
def test_changed_plugin_is_refused(refused: Refuse, survey, run) -> None:
    error = refused(survey, "sweep", "--resume", "--out", run)
    assert ": plugins changed since it was begun" in error


def test_same_study_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, survey, run, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey)
    assert main(["sweep", "--resume", "--out", str(run), "--dry-run", "--blocks", "9"]) == 0
    assert "4 cases, 9 blocks" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["suite", "device", "seed", "plugins", "identity"])
def test_run_that_lacks_something_is_refused(refused: Refuse, survey, run, key: str) -> None:
    info = json.loads((run / RUN).read_text())
    del info[key]
    (run / RUN).write_text(json.dumps(info))
    error = refused(survey, "sweep", "--resume", "--out", run)
    assert error == f"error: cannot resume {run}: run.json lacks {key}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("device", 5),
        ("seed", "x"),
        *(("plugins", value) for value in (5, "x", [5])),
        *(("identity", value) for value in ([], "x")),
        *(("efficiency", value) for value in ("x", 5, {}, {"wall_seconds": 1.0})),
        ("efficiency", {"wall_seconds": 1.0, "busy_seconds": "x"}),
        *(("profile", value) for value in ("x", 5)),
        *(("profiles", value) for value in ("x", [], {"a": 5})),
        *(("launcher", 5), ("ray_address", 5), ("ray_nodes", 5)),
        *(("machines", value) for value in (5, [5], [{}])),
        ("started", float("nan")),
    ],
)
def test_run_of_which_something_makes_no_sense_is_refused(
    refused: Refuse, survey, run, key: str, value: object
) -> None:
    """What is not understood would be lost when the file is next written."""
    (run / RUN).write_text(json.dumps(json.loads((run / RUN).read_text()) | {key: value}))
    error = refused(survey, "sweep", "--resume", "--out", run)
    assert error.startswith(f"error: cannot resume {run}: run.json: {key} makes no sense: ")


@pytest.mark.parametrize("key", ["suite", "device", "seed", "plugins", "identity"])
def test_null_is_nothing(refused: Refuse, survey, run, key: str) -> None:
    (run / RUN).write_text(json.dumps(json.loads((run / RUN).read_text()) | {key: None}))
    error = refused(survey, "sweep", "--resume", "--out", run)
    assert error == f"error: cannot resume {run}: run.json lacks {key}"


def test_suite_that_is_no_table_is_refused(refused: Refuse, survey, run) -> None:
    (run / RUN).write_text(json.dumps(json.loads((run / RUN).read_text()) | {"suite": "x"}))
    error = refused(survey, "sweep", "--resume", "--out", run)
    assert error == f"error: cannot read {run / RUN}: the suite in it is no table"


def test_number_that_is_no_json_is_no_hindrance(
    monkeypatch: pytest.MonkeyPatch, survey, run
) -> None:
    """It is null when the file is next written."""
    info = json.loads((run / RUN).read_text())
    info["environment"]["cpu"]["clock_hz"] = float("nan")
    (run / RUN).write_text(json.dumps(info))
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey)
    assert main(["sweep", "--resume", "--out", str(run), "--budget", "1s"]) == 0
    assert json.loads((run / RUN).read_text())["environment"]["cpu"]["clock_hz"] is None


def test_merged_run_is_refused(refused: Refuse, survey, run) -> None:
    (run / RUN).write_text(json.dumps(json.loads((run / RUN).read_text()) | {"parts": []}))
    error = refused(survey, "sweep", "--resume", "--out", run)
    assert error == (
        f"error: cannot resume {run}: it was merged: resume its shards, and merge them again"
    )


def test_newest_unfinished_run_is_found(
    refused: Refuse, survey, run, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(run.parent)
    assert refused(survey, "sweep", "--resume").startswith("error: nothing to resume")
    for name, finished in (("1-old", None), ("2-open", None), ("3-done", "now"), ("4-bad", None)):
        shutil.copytree(run, Path("reports") / name)
        info = json.loads((run / RUN).read_text()) | {"finished": finished, "name": name}
        (Path("reports") / name / RUN).write_text("{" if name == "4-bad" else json.dumps(info))
    error = refused(survey, "sweep", "--resume", "--depth", "1,4")
    assert error.startswith("error: cannot resume reports/2-open: ")
