"""Nets that break in every way: each becomes a record, and all others are measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paraformer_bench.study.record import Record

pytestmark = pytest.mark.slow

PLUGIN = """
import gc
import os
import signal
import time

import torch
from torch import nn

from paraformer_bench import Unsupported, register_execution, register_model


def register(name):
    def decorate(forward):
        class Net(nn.Module):
            def forward(self, images):
                return forward(images.mean((2, 3)))

        register_model(name)(lambda spec: Net())

    return decorate


def timed():
    return not gc.isenabled()  # the collector is off in timed calls and nowhere else


@register_model("raises_in_build")
def build(spec):
    raise LookupError("no such layer\\nsecond line")


@register("raises_in_forward")
def _(x):
    raise ValueError("bad shape")


@register("raises_when_timed")
def _(x):
    if timed():
        raise ValueError("worn out")
    return x


@register("wants_memory")
def _(x):
    return x + torch.empty(1 << 46)


@register("kills_itself")
def _(x):
    os.kill(os.getpid(), signal.SIGKILL)


@register("kills_itself_when_timed")
def _(x):
    if timed():
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@register("hangs")
def _(x):
    time.sleep(3600)


@register("returns_nan")
def _(x):
    return x * float("nan")


@register("declines")
def _(x):
    raise Unsupported("not on a day like this")


@register("talks")
def _(x):
    print('{"event": "finished"} is what I say')
    os.write(1, b"and so do I")
    return x


@register_execution("off_by_a_little", needs_branches=False)
def prepare(model, example):
    return lambda x: model(x) * 1.001
"""

FAULTS = {
    "raises_in_build": ("error", "LookupError: no such layer"),
    "raises_in_forward": ("error", "ValueError: bad shape"),
    "raises_when_timed": ("error", "ValueError: worn out"),
    "wants_memory": ("oom", "can't allocate memory"),
    "kills_itself": ("error", "the worker was killed by SIGKILL"),
    "kills_itself_when_timed": ("error", "the worker was killed by SIGKILL"),
    "hangs": ("timeout", "no answer within 4 s"),
    "returns_nan": ("mismatch", "the output holds NaN"),
    "declines": ("skipped", "not on a day like this"),
}
"""Status and a part of the reason, by model."""

HEALTHY = {("serial", 1), ("serial", 2), ("paraformer", 1), ("paraformer", 2), ("talks", 1)}

SUITE = f"""
[protocol]
blocks = 2
rounds = 2
seconds_per_case = 0.02
timeout_seconds = 4

[[grid]]
models = ["serial", "paraformer"]
depth = [1, 2]
width = 64
tokens = 17

[[grid]]
models = {["talks", *FAULTS]}
depth = 1
width = 64
tokens = 17

[[grid]]
models = "serial"
executions = "off_by_a_little"
depth = 1
width = 64
tokens = 17
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def plugin(files, folder: Path) -> Path:
    return files.write(folder / "faults.py", PLUGIN)


@pytest.fixture(scope="module")
def result(cli, files, folder: Path, plugin: Path):
    suite = files.write(folder / "faults.toml", SUITE)
    return cli(
        *(
            "sweep",
            "--profile",
            "none",
            "--device",
            "cpu",
            "--suite",
            suite,
            "--plugin",
            plugin,
            "--out",
            "run",
        ),
        cwd=folder,
    )


@pytest.fixture(scope="module")
def records(files, folder: Path, result) -> list[Record]:
    return files.records(folder / "run")


def test_exit_code_says_that_something_broke(result) -> None:
    assert result.returncode == 3, result.stderr
    assert result.stderr == ""
    broken = [s for s, _ in FAULTS.values() if s in ("error", "timeout", "mismatch")]
    assert f"{2 * (len(broken) + 1)} records ended as error, timeout or mismatch" in result.stdout


@pytest.mark.parametrize("model", FAULTS)
def test_fault_becomes_a_record_in_every_block(records: list[Record], model: str) -> None:
    status, reason = FAULTS[model]
    found = sorted((r for r in records if r.case.model == model), key=lambda r: r.block)
    assert [(r.block, r.status) for r in found] == [(0, status), (1, status)]
    for record in found:
        assert reason in record.reason
        assert "\n" not in record.reason
        assert record.wall_seconds == []


def test_wrong_numbers_are_never_timed(records: list[Record]) -> None:
    found = [r for r in records if r.case.execution == "off_by_a_little"]
    assert [r.status for r in found] == ["mismatch", "mismatch"]
    for record in found:
        assert record.reason.startswith("relative error 0.001 against the plain loop in float64")
        assert record.wall_seconds == []


def test_all_other_cases_are_measured_in_every_block(records: list[Record]) -> None:
    healthy = [r for r in records if r.status == "ok"]
    seen = {(r.case.model, r.case.depth, r.block) for r in healthy}
    assert seen == {(model, depth, block) for model, depth in HEALTHY for block in (0, 1)}
    for record in healthy:
        assert record.reason is None
        assert sum(record.rounds) == len(record.wall_seconds) > 0
        # The net that dies while it is timed may cut short the others' rounds, never unflagged.
        assert len(record.rounds) == 2 or "interrupted" in record.flags


def test_no_case_has_two_records(records: list[Record]) -> None:
    keys = [record.key for record in records]
    assert len(keys) == len(set(keys)) == 2 * (len(HEALTHY) + len(FAULTS) + 1)


def test_run_is_judged_and_reported(folder: Path, result) -> None:
    verdicts = json.loads((folder / "run" / "verdicts.json").read_text())
    assert {v["model"] for v in verdicts} == {"serial", "paraformer", "talks"}
    assert (folder / "run" / "index.html").stat().st_size > 0
    assert not (folder / "run" / "journal.jsonl").exists()


def test_out_of_memory_and_skipped_are_results(cli, files, folder: Path, plugin: Path) -> None:
    result = cli(
        *(
            "sweep",
            "--profile",
            "none",
            "--device",
            "cpu",
            "--suite",
            folder / "faults.toml",
            "--plugin",
            plugin,
        ),
        *("--models", "wants_memory,declines,serial", "--executions", "loop", "--depth", "1"),
        *("--runtimes", "eager,graph", "--blocks", "1", "--out", "results"),
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    records = files.records(folder / "results")
    found = {(r.case.model, r.case.runtime): r.status for r in records}
    assert found == {
        ("wants_memory", "eager"): "oom",
        ("declines", "eager"): "skipped",
        ("serial", "eager"): "ok",
        ("wants_memory", "graph"): "skipped",
        ("declines", "graph"): "skipped",
        ("serial", "graph"): "skipped",
    }
    [reason] = {r.reason for r in records if r.case.runtime == "graph"}
    assert reason == "runtime graph needs cuda, this is cpu"
