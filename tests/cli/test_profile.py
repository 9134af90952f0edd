"""Timelines by the command line, after a sweep and of one case; opened with TensorBoard too."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.study.survey import Survey

pytestmark = pytest.mark.slow

SUITE = """
[protocol]
blocks = 1
rounds = 1
seconds_per_case = 0.02

[[grid]]
models = ["serial", "paraformer", "fatal"]
executions = ["loop", "stacked"]
depth = [1, 2, 3]
width = 64
tokens = 17
"""

# Dies when the profiler is on: that must cost its trace and nothing else.
PLUGIN = """
import os

import torch
from torch import nn

from paraformer_bench import register_model


class Fatal(nn.Module):
    def forward(self, images):
        if torch.autograd._profiler_enabled():
            os._exit(9)
        return images.mean((2, 3))


@register_model("fatal")
def build(spec):
    return Fatal()
"""

CURVES = ("serial-loop", "paraformer-loop", "paraformer-stacked")
REGIME = "w64-b1-t17-float32-cpu-inference-whole"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def swept(cli, files, folder: Path) -> subprocess.CompletedProcess[str]:
    suite = files.write(folder / "suite.toml", SUITE)
    plugin = files.write(folder / "fatal.py", PLUGIN)
    arguments = ("--device", "cpu", "--suite", suite, "--plugin", plugin, "--out", "run")
    result = cli("sweep", *arguments, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def traces(swept: object, folder: Path) -> Path:
    return folder / "run" / "traces"


@pytest.fixture(scope="module")
def profiles(swept: object, folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "run" / "run.json").read_text())[
        "profiles"
    ]
    return found


def test_both_ends_of_each_curve_have_a_trace(profiles, folder: Path, traces: Path) -> None:
    taken = {name: p for name, p in profiles.items() if not name.startswith("fatal")}
    ids = {f"{curve}-eager-d{depth}-{REGIME}" for curve in CURVES for depth in (1, 3)}
    assert taken.keys() == ids
    assert {path.name for path in traces.iterdir()} == ids
    for name, profile in taken.items():
        path = folder / "run" / profile["file"]
        assert path.parent == traces / name
        assert profile["reason"] is None
        assert profile["bytes"] == path.stat().st_size
        assert profile["slowdown"] > 0
        with gzip.open(path) as file:
            events = json.load(file)["traceEvents"]
        steps = [event for event in events if event["name"].startswith("ProfilerStep#")]
        assert len(steps) == profile["steps"] >= 5


def test_case_that_dies_under_the_profiler_costs_its_trace_alone(
    profiles, files, folder: Path
) -> None:
    fatal = {name: p for name, p in profiles.items() if name.startswith("fatal")}
    assert len(fatal) == 2
    for profile in fatal.values():
        assert profile["file"] is None
        assert profile["reason"].startswith("error: the worker exited with code 9")
    assert {record.status for record in files.records(folder / "run")} == {"ok"}


def test_last_lines_report_the_slowdown(swept: subprocess.CompletedProcess[str]) -> None:
    found = re.search(
        r"^6 timelines of 8, \d+\.\d MB; under the profiler a call took \d+\.\d\d times as long$",
        swept.stdout,
        re.MULTILINE,
    )
    assert found, swept.stdout


def test_one_case(cli, tmp_path: Path) -> None:
    result = cli(
        *("profile", "--device", "cpu", "--model", "paraformer", "--execution", "loop"),
        *("--depth", 2, "--width", 64, "--tokens", 17, "--out", "my traces"),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    path, shows, told, perfetto, tensorboard = result.stdout.splitlines()
    assert re.match(r"\d+ operations a call; one operation after another; ", shows)
    assert Path(path).parent == Path("my traces") / f"paraformer-loop-eager-d2-{REGIME}"
    with gzip.open(tmp_path / path) as file:
        names = {event["name"] for event in json.load(file)["traceEvents"]}
    assert {"branch/0", "branch/1"} <= names
    assert "neither of which is a result" in told
    assert "https://ui.perfetto.dev" in perfetto
    assert tensorboard.endswith("tensorboard --logdir 'my traces'")


def test_one_case_that_dies(cli, files, tmp_path: Path) -> None:
    plugin = files.write(tmp_path / "fatal.py", PLUGIN)
    result = cli(
        *("profile", "--device", "cpu", "--model", "fatal", "--plugin", plugin),
        *("--width", 64, "--tokens", 17, "--depth", 1),
        cwd=tmp_path,
    )
    assert (result.returncode, result.stdout) == (3, "")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"no timeline of fatal-loop-eager-d1-{REGIME}: error: the worker exite")


REFUSED = {
    ("--model", "seriel"): "unknown model 'seriel': did you mean 'serial'?",
    ("--execution", "stackd"): "unknown execution 'stackd': did you mean 'stacked'?",
    ("--runtime", "graf"): "unknown runtime 'graf': did you mean 'graph'?",
    ("--runtime", "graph"): "runtime graph needs cuda, this is cpu",
    ("--model", "serial", "--execution", "stacked"): "nothing to measure: models without branches",
    ("--dtype", "tf32"): "dtype tf32 needs cuda, this is cpu",
    ("--dtype", "float23"): "Invalid value for '--dtype': 'float23' is not one of",
    ("--mode", "training"): "Invalid value for '--mode': 'training' is not one of",
    ("--scope", "all"): "Invalid value for '--scope': 'all' is not one of",
    ("--depth", "0"): "Invalid value for '--depth': 0 is not in the range 1<=x<=16384",
    ("--depth", "1,2"): "Invalid value for '--depth': '1,2' is not a valid integer range",
    ("--width", "100"): "width 100 is not divisible by heads of width 64: try 64 or 128",
    ("--tokens", "7"): "tokens 7 is not a square number of patches and a class token",
    ("--gpu", "0"): "device cuda:0 is not there",
    ("--gpu", "0", "--device", "cpu"): "give --gpu or --device, not both",
    ("--plugin", "absent.py"): "absent.py does not exist or is no file",
    ("--out", "file/traces"): "cannot write to file/traces: Not a directory",
    ("extra",): "Got unexpected extra argument (extra)",
}


@pytest.mark.parametrize("options", REFUSED, ids=" ".join)
def test_wrong_request(
    options: tuple[str, ...],
    survey_of: Callable[..., Survey],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def take_survey(plugins: tuple[Path, ...]) -> Survey:
        from paraformer_bench.study.plugins import load_plugins

        load_plugins(plugins)
        return survey_of()

    monkeypatch.setattr("paraformer_bench.sweep.timelines.take_survey", take_survey)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["profile", *options]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    [line] = output.err.splitlines()
    assert REFUSED[options] in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sweep_refuses_other_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--profile", "some"]) == 2
    assert "'some' is not one of 'none', 'ends', 'all'" in capsys.readouterr().err


VIEWS = ["Overview", "Operator", "Trace", "Memory"]


def test_plugin_reads_every_trace(profiles, folder: Path, tmp_path: Path) -> None:
    reason = "needs the extra tensorboard"
    data = pytest.importorskip("torch_tb_profiler.profiler.data", reason=reason)
    generator = pytest.importorskip("torch_tb_profiler.profiler.run_generator", reason=reason)
    files = [profile["file"] for profile in profiles.values() if profile["file"]]
    assert len(files) == 6
    for file in files:
        parsed = data.RunProfileData.parse("cpu", 1, str(folder / "run" / file), str(tmp_path))
        profile = generator.RunGenerator("cpu", 1, parsed).generate_run_profile()
        assert [view.display_name for view in profile.views] == VIEWS
        assert len(profile.overview["steps"]["rows"]) >= 5
        names = {row["name"] for row in profile.operation_table_by_name["data"]}
        assert {"aten::addmm", "aten::native_layer_norm"} & names
        assert profile.get_memory_stats()["rows"]["CPU"]


class Pages:
    """TensorBoard's answers over HTTP, from a process of its own on the loopback."""

    def __init__(self, process: subprocess.Popen[str], port: str) -> None:
        self._process = process
        self._base = f"http://127.0.0.1:{port}/data/plugin/pytorch_profiler"

    def __call__(self, route: str, **query: object) -> Any:
        url = f"{self._base}/{route}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            body = answer.read()
            if answer.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
        return json.loads(body)

    def loaded(self, runs: int) -> list[str]:
        """Wait until so many runs are loaded; return their names."""
        for _ in range(300):
            answer = self("runs")
            names: list[str] = answer["runs"]
            if len(names) == runs and not answer["loading"]:
                return names
            with pytest.raises(subprocess.TimeoutExpired):  # it lives on
                self._process.wait(timeout=0.2)
        raise AssertionError(f"not loaded: {answer}")


@pytest.fixture(scope="module")
def pages(traces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    pytest.importorskip("torch_tb_profiler", reason="needs the extra tensorboard")
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(traces)]
    command += ["--host", "127.0.0.1", "--port", "0", "--load_fast=false"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, text=True
        )
    try:
        for _ in range(300):
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text()):
                break
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
        assert found, log.read_text()
        yield Pages(process, found[1])
    finally:
        # The plugin reads traces in processes of its own, which outlive it.
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def test_pages_of_the_plugin_answer(pages: Pages, profiles) -> None:
    """Every view of a run: overview, operators, trace and memory."""
    ids = sorted(name for name, profile in profiles.items() if profile["file"])
    assert pages.loaded(len(ids)) == ids
    run = f"paraformer-loop-eager-d3-{REGIME}"
    assert pages("views", run=run) == VIEWS
    assert pages("workers", run=run, view="Overview") == ["cpu"]
    assert pages("spans", run=run, worker="cpu") == ["1"]
    of = {"run": run, "worker": "cpu", "span": 1}
    overview = pages("overview", **of, view="Overview")
    assert len(overview["steps"]["rows"]) == profiles[run]["steps"]
    assert overview["environments"][1] == {"title": "Device Type", "value": "CPU"}
    pie = pages("operation", **of, group_by="Operation")
    assert "aten::addmm" in {row[0] for row in pie["host_total_time"]["rows"]}
    table = pages("operation/table", **of, group_by="Operation")
    calls = {row["name"]: row["calls"] for row in table["data"]}
    assert calls["aten::addmm"] == (3 * 4 + 2) * profiles[run]["steps"]
    names = {event["name"] for event in pages("trace", **of)["traceEvents"]}
    assert {"branch/0", "branch/1", "branch/2"} <= names
    assert pages("memory", **of)["rows"]["CPU"]
    assert pages("memory_curve", **of)["rows"]["CPU"]
    assert pages("memory_events", **of)["rows"]["CPU"]
