"""Energy windows through the real command line, on a machine whose counter is a file of ours.

Time is simulated and the machine takes 50 W: a call of the net takes a millisecond for each of its
blocks, and writes the counter as it goes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from paraformer_bench.load import load_run
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import read_run

pytestmark = pytest.mark.slow

PLUGIN = """
import os
import signal
import sys
from pathlib import Path

from torch import nn

from paraformer_bench import register_model
from paraformer_bench.instrument import clock, energy

energy.POWERCAP = Path({powercap!r})
COUNTER = energy.POWERCAP / "intel-rapl:0" / "energy_uj"
RANGE = 40_000_000  # it starts anew every 0.8 s


class Simulated:
    now = 0.0

    def perf_counter(self):
        self.now += 1e-7  # no clock shows the same time twice
        return self.now


clock.time = Simulated()


def in_a_window():
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "take_window":
        frame = frame.f_back
    return frame is not None


class Net(nn.Module):
    def __init__(self, name, depth):
        super().__init__()
        self.name, self.depth = name, depth

    def forward(self, images):
        if self.name == "dies" and in_a_window():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.name == "raises" and in_a_window():
            raise ValueError("worn out")
        clock.time.now += self.depth * 1e-3
        if COUNTER.exists():
            COUNTER.write_text(str(int(clock.time.now * 50e6) % RANGE))
        return images.mean((2, 3))


for name in ("steady", "raises", "dies"):
    register_model(name)(lambda spec, name=name: Net(name, spec.depth))
"""

SUITE = """
[protocol]
blocks = 2
rounds = 2
seconds_per_case = 0.05
timeout_seconds = 60
energy_seconds = 2

[[grid]]
models = ["steady", "raises"]
depth = [1, 2]
width = 64
tokens = 17

[[grid]]
models = ["steady", "dies"]
depth = 1
width = 128
tokens = 17
"""


def sweep(cli, files, folder: Path) -> tuple[str, list[Record]]:
    """Sweep in ``folder``; return what was said and the records."""
    plugin = files.write(folder / "nets.py", PLUGIN.format(powercap=str(folder / "powercap")))
    suite = files.write(folder / "energy.toml", SUITE)
    arguments = ["--profile", "none", "--device", "cpu", "--plugin", plugin, "--out", "run"]
    result = cli("sweep", "--suite", suite, *arguments, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout, files.records(folder / "run")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("energy")
    zone = folder / "powercap" / "intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("40000000\n")
    (zone / "energy_uj").write_text("0\n")
    return folder


@pytest.fixture(scope="module")
def run(cli, files, folder: Path) -> tuple[str, list[Record]]:
    return sweep(cli, files, folder)


def test_every_case_is_ok_whatever_happened_in_its_window(run) -> None:
    said, records = run
    assert "energy: a window of 2 s for each case and block, after its timed rounds" in said
    keys = {(r.case.model, r.case.depth, r.case.regime.get("width"), r.block) for r in records}
    assert len(keys) == len(records) == 2 * 6
    assert {r.status for r in records} == {"ok"}
    assert all(len(r.rounds) == 2 and "interrupted" not in r.flags for r in records)


def test_energy_of_a_call_is_power_times_its_time(run) -> None:
    known = [r for r in run[1] if r.energy_joules is not None]
    assert {(r.case.depth, r.block) for r in known if r.case.regime.get("width") == 64} == {
        *((1, 0), (1, 1), (2, 0), (2, 1))
    }
    for record in known:
        assert record.case.model == "steady"
        assert record.energy_joules == pytest.approx(50e-3 * record.case.depth, rel=0.005)
        window = record.telemetry["energy"]
        assert window["watts"] == pytest.approx(50, rel=0.005)
        assert 2.0 <= window["seconds"] < 2.1
        assert window["calls"] == pytest.approx(
            window["seconds"] * 1e3 / record.case.depth, rel=0.01
        )
        assert "energy_joules" not in record.null_reasons


def test_a_latency_never_comes_from_a_window(run) -> None:
    """A round has 25 ms: a window's two thousand calls would show."""
    for record in run[1]:
        assert max(record.rounds) <= 25


def test_a_window_that_fails_says_why(run) -> None:
    reasons = {
        (r.case.model, r.block): r.null_reasons["energy_joules"]
        for r in run[1]
        if r.case.model != "steady"
    }
    assert reasons == {
        ("raises", 0): "error: ValueError: worn out",
        ("raises", 1): "error: ValueError: worn out",
        ("dies", 0): "error: the worker was killed by SIGKILL (by the system, if memory ran out)",
        ("dies", 1): "error: the worker was killed by SIGKILL (by the system, if memory ran out)",
    }


def test_a_case_after_a_dead_worker_keeps_its_times(run) -> None:
    beside = [r for r in run[1] if r.case.model == "steady" and r.case.regime.get("width") == 128]
    for record in beside:
        reason = record.null_reasons.get("energy_joules")
        assert reason in (None, "the case ended before its energy window")
        assert (reason is None) is (record.energy_joules is not None)


def test_the_run_says_what_was_read(run, folder: Path) -> None:
    info = read_run(folder / "run").info
    assert info.environment["energy"]["cpu"] == {"source": "RAPL", "reason": None}
    assert info.suite["protocol"]["energy_seconds"] == 2
    cases = load_run(folder / "run").cases
    steady = cases[(cases["model"] == "steady") & (cases["width"] == 64)].set_index("depth")
    assert steady["energy_joules"].to_dict() == pytest.approx({1: 0.05, 2: 0.1}, rel=0.005)
    assert cases[cases["model"] == "raises"]["energy_joules"].isna().all()


def test_without_a_counter_no_window_is_run_and_the_sweep_says_so(cli, files, tmp_path) -> None:
    said, records = sweep(cli, files, tmp_path)
    reason = f"this machine shows no power counters: {tmp_path / 'powercap'} is not there"
    assert said.count(f"energy will not be measured: {reason}") == 1
    assert len(records) == 2 * 6
    for record in records:
        assert (record.status, record.energy_joules) == ("ok", None)
        assert record.null_reasons["energy_joules"] == reason
        assert "energy" not in record.telemetry
