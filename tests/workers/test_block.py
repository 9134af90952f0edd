"""The worker as a process: one job in, events out, and a death that suits its end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.study import child
from paraformer_bench.study.case import Case
from paraformer_bench.study.job import Job, Protocol

PATIENCE = 120
MakeCase = Callable[..., Case]
Event = dict[str, Any]

NOISY = """
import ctypes
import os

import torch
from torch import nn

from paraformer_bench import register_model


class Noisy(nn.Module):
    def forward(self, images):
        print('{"event": "finished"}')
        os.write(1, b"no newline")
        ctypes.CDLL(None).puts(b"from C")
        return images.mean((2, 3))


@register_model("noisy")
def build(spec):
    return Noisy()


@register_model("raises")
def build_raises(spec):
    raise ValueError("never built")
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(NOISY)
    return path


def job(groups: list[list[Case]], plugins: list[Path], **changes: Any) -> dict[str, Any]:
    protocol = Protocol(rounds=2, seconds_per_case=0.01)
    whole = Job(3, "cpu", protocol, 0, [str(path) for path in plugins], groups)
    return whole.to_json() | changes


def start(stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        child.command("workers.block"),
        env=child.environment(),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(message: object) -> tuple[int, list[Event], str]:
    """Let a worker do a job; return its exit code, its events and its stderr."""
    process = start()
    try:
        out, err = process.communicate(json.dumps(message) + "\n", timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def test_a_job_from_start_to_end_whatever_the_model_prints(
    make_case: MakeCase, plugin: Path
) -> None:
    noisy, raises, serial = (make_case(model=name) for name in ("noisy", "raises", "serial"))
    code, events, errors = run(job([[noisy, raises], [serial]], [plugin], first_order=5))
    assert code == 0
    assert events[0] == {"event": "ready"}
    assert events[-1] == {"event": "done"}
    finished = {event["case_id"]: event for event in events if event["event"] == "finished"}
    assert {case_id: event["status"] for case_id, event in finished.items()} == {
        noisy.id: "ok",
        raises.id: "error",
        serial.id: "ok",
    }
    assert finished[raises.id]["reason"] == "ValueError: never built"
    prepared = {e["case_id"]: e["order"] for e in events if e["event"] == "prepared"}
    assert prepared == {noisy.id: 5, serial.id: 7}
    for case in (noisy, serial):
        sampled = [e for e in events if e["event"] == "sampled" and e["case_id"] == case.id]
        assert len(sampled) == 2
        assert all(seconds > 0 for event in sampled for seconds in event["wall_seconds"])
    # What the model wrote went to stderr, line by line or not.
    for words in ('{"event": "finished"}', "no newline", "from C"):
        assert words in errors


def test_a_job_it_does_not_understand_ends_it_at_once(make_case: MakeCase) -> None:
    code, events, errors = run(job([[make_case()]], [], surprise=1))
    assert code == 1
    assert events == []
    assert "surprise" in errors.strip().splitlines()[-1]


def test_a_device_that_broke_ends_it_with_code_3(make_case: MakeCase, tmp_path: Path) -> None:
    """The plugin pretends that the first failing case has broken the device."""
    path = tmp_path / "breaks.py"
    path.write_text(
        NOISY
        + textwrap.dedent(
            """
            from paraformer_bench.instrument.device import Device

            Device.healthy = lambda device: False
            """
        )
    )
    cases = [make_case(model="raises"), make_case(model="noisy")]
    code, events, _ = run(job([cases], [path]))
    assert code == 3
    assert events[-1]["event"] == "finished"
    assert events[-1]["case_id"] == cases[0].id


def test_it_ends_quietly_when_nobody_listens(make_case: MakeCase) -> None:
    read, write = os.pipe()
    process = start(stdout=write)
    os.close(write)
    os.close(read)
    _, errors = process.communicate(json.dumps(job([[make_case()]], [])) + "\n", PATIENCE)
    assert process.returncode == 1
    assert "Traceback" not in errors


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death"
)
def test_it_does_not_outlive_its_parent(make_case: MakeCase, tmp_path: Path) -> None:
    """A model that hangs writes its process id into a pipe; then the parent is killed."""
    plugin = tmp_path / "hangs.py"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plugin.write_text(
        textwrap.dedent(
            f"""
            import os, signal
            from paraformer_bench import register_model

            @register_model("hangs")
            def build(spec):
                with open({str(fifo)!r}, "w") as file:
                    file.write(str(os.getpid()))
                signal.pause()
            """
        )
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                import subprocess
                from paraformer_bench.study import child
                worker = subprocess.Popen(
                    child.command("workers.block"), stdin=subprocess.PIPE, text=True,
                    env=child.environment(),
                )
                worker.stdin.write({json.dumps(job([[make_case(model="hangs")]], [plugin]))!r})
                worker.stdin.close()
                worker.wait()
                """
            ),
        ],
        env=child.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pipe = os.open(fifo, os.O_RDWR)  # also for writing, so that opening does not wait
    try:
        hangs, _, _ = select.select([pipe], [], [], PATIENCE)
        assert hangs
        worker = os.pidfd_open(int(os.read(pipe, 100)))
    finally:
        os.close(pipe)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    died, _, _ = select.select([worker], [], [], PATIENCE)
    os.close(worker)
    assert died


def test_it_loads_nothing_that_only_the_analysis_needs() -> None:
    """Every block starts a worker: half a second saved here is a minute saved in a sweep."""
    code = """
import sys
import paraformer_bench.workers.block
heavy = ("pandas", "scipy", "matplotlib", "seaborn", "rich", "click", "jinja2", "torch._dynamo")
print([name for name in heavy if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=child.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "[]"
