"""The worker as a process: one job in, events out, and a death that suits its end."""

from __future__ import annotations

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

from paraformer_bench.study import child, events, wire
from paraformer_bench.study.case import Case
from paraformer_bench.study.events import (
    Done,
    Event,
    Finished,
    Prepared,
    Ready,
    Refused,
    Sampled,
)
from paraformer_bench.study.job import BlockJob, Job, Protocol

PATIENCE = 120
MakeCase = Callable[..., Case]

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


def job(groups: list[list[Case]], plugins: list[Path], **changes: Any) -> BlockJob:
    usual: dict[str, Any] = {
        "device": "cpu",
        "plugins": [str(path) for path in plugins],
        "block": 3,
        "protocol": Protocol(rounds=2, seconds_per_case=0.01),
        "seed": 0,
        "groups": groups,
    }
    return BlockJob(**(usual | changes))


def start(stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        child.command("workers"),
        env=child.environment(),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def run(message: Job | bytes) -> tuple[int, list[Event], str]:
    """Let a worker do a job; return its exit code, its events and its stderr."""
    line = message if isinstance(message, bytes) else wire.encode(message)
    process = start()
    try:
        out, err = process.communicate(line + b"\n", timeout=PATIENCE)
    finally:
        process.kill()
    reader = wire.decoder(events.ANY)
    return process.returncode, [reader.decode(line) for line in out.splitlines()], err.decode()


def test_a_job_from_start_to_end_whatever_the_model_prints(
    make_case: MakeCase, plugin: Path
) -> None:
    noisy, raises, serial = (make_case(model=name) for name in ("noisy", "raises", "serial"))
    code, said, errors = run(job([[noisy, raises], [serial]], [plugin], first_order=5))
    assert code == 0
    assert (said[0], said[-1]) == (Ready(), Done())
    finished = {event.case_id: event for event in said if isinstance(event, Finished)}
    assert {case_id: event.status for case_id, event in finished.items()} == {
        noisy.id: "ok",
        raises.id: "error",
        serial.id: "ok",
    }
    assert finished[raises.id].reason == "ValueError: never built"
    prepared = {event.case_id: event.order for event in said if isinstance(event, Prepared)}
    assert prepared == {noisy.id: 5, serial.id: 7}
    for case in (noisy, serial):
        sampled = [e for e in said if isinstance(e, Sampled) and e.case_id == case.id]
        assert len(sampled) == 2
        assert all(seconds > 0 for event in sampled for seconds in event.wall_seconds)
    # What the model wrote went to stderr, line by line or not.
    for words in ('{"event": "finished"}', "no newline", "from C"):
        assert words in errors


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b'{"job": "dinner"}', "dinner"),
        (b'{"job": "block", "block": 0}', "protocol"),
    ],
)
def test_a_job_it_does_not_understand_ends_it_at_once(line: bytes, words: str) -> None:
    code, said, errors = run(line)
    assert (code, said) == (1, [])
    assert words in errors.strip().splitlines()[-1]


def test_a_plugin_that_cannot_be_loaded_is_refused(make_case: MakeCase, tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text("1 / 0")
    code, said, errors = run(job([[make_case()]], [plugin]))
    message = f"plugin {plugin} failed: ZeroDivisionError: division by zero"
    assert (code, said) == (2, [Refused(message=message)])
    assert errors.strip().splitlines()[-1] == message


def test_the_last_line_says_what_it_died_of(make_case: MakeCase, tmp_path: Path) -> None:
    """Whole, though the message has several lines."""
    plugin = tmp_path / "dies.py"
    plugin.write_text(
        "from paraformer_bench.instrument import device\n"
        "def broken(name):\n"
        "    raise RuntimeError('no driver\\n\\nsee the manual')\n"
        "device.open_device = broken\n"
    )
    code, said, errors = run(job([[make_case()]], [plugin]))
    assert (code, said) == (1, [])
    assert errors.strip().splitlines()[-1] == "RuntimeError: no driver see the manual"


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
    code, said, _ = run(job([cases], [path]))
    assert code == 3
    assert isinstance(said[-1], Finished)
    assert said[-1].case_id == cases[0].id


def test_it_ends_quietly_when_nobody_listens(make_case: MakeCase) -> None:
    read, write = os.pipe()
    process = start(stdout=write)
    os.close(write)
    os.close(read)
    _, errors = process.communicate(wire.encode(job([[make_case()]], [])) + b"\n", PATIENCE)
    assert process.returncode == 1
    assert b"Traceback" not in errors


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
                    child.command("workers"), stdin=subprocess.PIPE,
                    env=child.environment(),
                )
                worker.stdin.write({wire.encode(job([[make_case(model="hangs")]], [plugin]))!r})
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
import paraformer_bench.workers.__main__
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
