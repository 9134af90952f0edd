"""What list, doctor, report and compare print, and the exit codes people script against."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from paraformer_bench.__main__ import main
from paraformer_bench.doctor import Load
from paraformer_bench.study.survey import Survey

SurveyOf = Callable[..., Survey]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process; return its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str]:
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert output.err == ""
        return code, output.out

    return run


def test_no_command_shows_the_help(said) -> None:
    code, output = said()
    assert code == 0
    for command in ("sweep", "profile", "report", "compare", "list", "doctor"):
        assert f"\n  {command} " in output


def test_list_where_stdout_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no ``sys.stdout`` then; what is said goes nowhere."""
    monkeypatch.setattr("sys.stdout", None)
    assert main(["list", "suites"]) == 0


def test_list(said, survey_of: SurveyOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paraformer_bench.console.take_survey", lambda plugins: survey_of())
    code, everything = said("list")
    assert code == 0
    for name in ("paraformer", "stacked", "graph", "smoke.toml"):
        assert name in everything
    _, models = said("list", "models")
    assert "what serial is" in models
    assert "built in" in models
    assert "stacked" not in models


def test_list_of_suites_asks_no_child(said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("paraformer_bench.console.take_survey")
    code, output = said("list", "suites")
    assert code == 0
    assert "smoke.toml" in output


@pytest.mark.parametrize(
    ("busy", "last"),
    [(0.0, "ready to measure"), (0.9, "1 thing would spoil a measurement")],
)
def test_doctor(
    said, survey_of: SurveyOf, monkeypatch: pytest.MonkeyPatch, busy: float, last: str
) -> None:
    monkeypatch.setattr("paraformer_bench.workers.ask.take_survey", lambda: survey_of(gpus=1))
    monkeypatch.setattr("paraformer_bench.doctor.look_at_load", lambda: Load(busy, 0.0))
    code, output = said("doctor")
    assert code == 0
    assert output.splitlines()[-1] == last
    assert ("    fix: stop them" in output) == (busy > 0)


def test_dry_run_says_what_would_be_measured(
    said, survey_of: SurveyOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey_of())
    monkeypatch.chdir(tmp_path)
    code, output = said("sweep", "--suite", "smoke", "--blocks", "5", "--dry-run")
    assert code == 0
    lines = output.splitlines()
    assert lines[0].startswith("smoke on cpu (EPYC, 4 cores): 9 cases, 5 blocks, about ")
    assert "  serial-loop-eager-w64-b1-t17-float32-cpu-inference-whole: depth 1, 2, 4" in lines
    assert lines[-1] == "  before that: the ceilings of the device, a few seconds"
    assert lines[-2] == "  skipped: 9 cases: runtime graph needs cuda, this is cpu"
    assert list(tmp_path.iterdir()) == []


def test_devices_of_one_case(
    said, survey_of: SurveyOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    survey = survey_of(gpus=2)
    survey.executions["stacked"] = structs.replace(survey.executions["stacked"], spread="ranks")
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey)
    monkeypatch.chdir(tmp_path)
    arguments = ["--suite", "smoke", "--runtimes", "eager", "--dry-run", "--devices"]
    code, output = said("sweep", *arguments, "1,2,4")
    assert code == 0
    regime = "w64-b1-t17-float32-cuda0-inference-whole: depth 1, 2, 4"
    curves = [line.strip() for line in output.splitlines() if line.endswith(regime)]
    assert curves == [
        f"paraformer-loop-eager-{regime}",
        f"paraformer-stacked-eager-n2-{regime}",
        f"paraformer-stacked-eager-{regime}",
        f"serial-loop-eager-{regime}",
    ]
    assert "  skipped: 3 cases: 4 devices are asked for, there are 2" in output.splitlines()


@pytest.mark.parametrize(
    ("shard", "extent"),
    [
        ("2/2", "shard 2 of 2: 9 cases, 2 of 5 blocks, about "),
        ("3/5", "shard 3 of 5: 9 cases, 1 of 5 blocks, about "),
        ("6/7", "shard 6 of 7: 0 cases, none of 5 blocks, about 0 s"),
    ],
)
def test_dry_run_of_a_shard(
    said, survey_of: SurveyOf, monkeypatch: pytest.MonkeyPatch, shard: str, extent: str
) -> None:
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey_of())
    sweep = ["sweep", "--suite", "smoke", "--blocks", "5", "--dry-run", "--shard", shard]
    code, output = said(*sweep)
    assert code == 0
    assert output.startswith(f"smoke on cpu (EPYC, 4 cores): {extent}")
    nothing = "shard 6 of 7 is empty: of 5 blocks of 1 group of cases nothing fell to it"
    assert output.splitlines().count(nothing) == (shard == "6/7")


def test_dry_run_of_a_shard_with_a_budget(
    said, survey_of: SurveyOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget decides how many blocks there are: no shard is empty."""
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda plugins: survey_of())
    sweep = ["sweep", "--suite", "smoke", "--dry-run", "--shard", "6/7", "--budget", "8m"]
    code, output = said(*sweep)
    assert code == 0
    assert "shard 6 of 7: 9 cases, as many blocks of about " in output
    assert "is empty" not in output


@pytest.mark.parametrize(
    ("gpus", "arguments", "device"),
    [
        (2, [], "cuda:0"),
        (2, ["--gpu", "1"], "cuda:1"),
        (2, ["--device", "cuda:1"], "cuda:1"),
        (2, ["--device", "cpu"], "cpu"),
        (0, [], "cpu"),
    ],
)
def test_device(
    said,
    survey_of: SurveyOf,
    monkeypatch: pytest.MonkeyPatch,
    gpus: int,
    arguments: list[str],
    device: str,
) -> None:
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda _: survey_of(gpus))
    _, output = said("sweep", "--suite", "smoke", "--dry-run", *arguments)
    assert output.startswith(f"smoke on {device} ")


def test_report_without_a_run_rebuilds_all(
    said, write_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_run(tmp_path / "reports" / name)
    code, output = said("report")
    assert code == 0
    assert output.splitlines() == [
        "reports/one/index.html",
        "reports/two/index.html",
        str(tmp_path / "reports" / "index.html"),
    ]
    [verdict] = json.loads(Path("reports/one/verdicts.json").read_text())
    assert (verdict["verdict"], verdict["constant_up_to"]) == ("grows", 1)


def test_report_takes_a_run_that_is_named_twice_once(
    said, write_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, other = write_run(tmp_path / "base"), write_run(tmp_path / "other")
    again = tmp_path / "other" / ".." / "base"
    assert said("report", base, again) == (0, f"{base}/index.html\n")
    code, output = said("report", "--format", "md", base, base)
    assert code == 0
    assert output == said("report", "--format", "md", base)[1]
    assert main(["report", str(base), str(other), str(base)]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [f"{base}/index.html", f"{other}/index.html"]
    assert told.err.endswith(f"paraformer_bench compare {base} {other}\n")


def test_compare_exit_code(
    said, write_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", scale=1.5)
    code, output = said("compare", a, b)
    assert code == 1
    assert "B against A: 3 SLOWER" in output
    code, output = said("compare", b, a)
    assert code == 0
    assert "B against A: 3 FASTER" in output
    code, output = said("compare", a, b, "--threshold", "0.6", "--out", "my/page.html")
    assert code == 0
    assert output.splitlines()[-1] == "page: my/page.html"
    assert "B against A" not in (tmp_path / "my/page.html").read_text()
    assert (tmp_path / "reports/compare/a--b.html").exists()


def test_compare_takes_any_number_of_runs(
    said, write_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", scale=0.5)
    c = write_run(tmp_path / "c", scale=1.5)
    code, output = said("compare", a, b, c)
    assert code == 1
    assert "B against A: 3 FASTER" in output
    assert "C against A: 3 SLOWER" in output
    assert (tmp_path / "reports/compare/a--b--c.html").exists()
    assert said("compare", a, b)[0] == 0
    assert main(["compare", str(a)]) == 2
