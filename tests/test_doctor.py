from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from paraformer_bench import doctor
from paraformer_bench.doctor import Finding, Load, diagnose
from paraformer_bench.study.survey import Survey

IDLE = Load(busy=0.0, stolen=0.0)


@pytest.fixture
def machine(survey_of: Callable[..., Survey]) -> Survey:
    """A machine without fault, with one GPU."""
    return survey_of(gpus=1)


def bad(survey: Survey, load: Load = IDLE) -> list[Finding]:
    return [finding for finding in diagnose(survey, load) if not finding.good]


def test_machine_without_fault(machine: Survey) -> None:
    assert bad(machine) == []
    assert [finding.what for finding in diagnose(machine, IDLE)] == [
        "cpu: EPYC, 4 usable cores",
        "the cores are idle (0% busy)",
        "torch uses 4 threads",
        "12.0 of 16.0 GiB of memory are free",
        "cpu: the energy of calls cannot be read: permission denied on /sys/energy_uj",
        "cuda:0: NVIDIA H200, 140 GiB, 132 multiprocessors, driver 570.1",
        "cuda:0: the energy of calls can be read (NVML)",
    ]


def test_machine_without_gpu(survey_of: Callable[..., Survey]) -> None:
    last = diagnose(survey_of(), IDLE)[-1]
    assert last.good
    assert last.what.startswith("no CUDA device: torch 2.13.0 measures on the CPU only; ")


def test_every_gpu_is_looked_at(survey_of: Callable[..., Survey]) -> None:
    found = [f.what for f in diagnose(survey_of(gpus=3), IDLE) if f.what.startswith("cuda:")]
    assert [what[:6] for what in found[::2]] == ["cuda:0", "cuda:1", "cuda:2"]
    energy = "the energy of calls can be read (NVML)"
    assert found[1::2] == [f"cuda:{i}: {energy}" for i in range(3)]


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("permission denied on /sys/x/energy_uj", "sudo chmod a+r /sys/class/powercap/intel-rapl"),
        ("this machine shows no power counters: /sys/x is not there", ""),
    ],
)
def test_energy_that_cannot_be_read_spoils_nothing(machine: Survey, reason: str, fix: str) -> None:
    machine.environment["energy"]["cpu"]["reason"] = reason
    [finding] = [f for f in diagnose(machine, IDLE) if "energy" in f.what and "cpu" in f.what]
    assert finding.good
    assert finding.what == f"cpu: the energy of calls cannot be read: {reason}"
    assert finding.fix.startswith(fix)
    assert bool(finding.fix) is bool(fix)


@pytest.mark.parametrize(
    ("load", "what"),
    [
        (Load(0.5, 0.0), "other programs use 2.0 of 4 cores"),
        (Load(0.0, 0.05), "other virtual machines take 5% of the CPU"),
    ],
)
def test_busy_machine(machine: Survey, load: Load, what: str) -> None:
    [finding] = bad(machine, load)
    assert finding.what == what
    assert finding.fix


def test_a_quarter_of_a_core_is_let_pass(machine: Survey) -> None:
    assert bad(machine, Load(0.0625, 0.01)) == []


@pytest.mark.parametrize(
    ("table", "change", "what", "fix"),
    [
        ("cpu", {"torch_threads": 9}, "torch uses 9 threads on 4 cores", "set OMP_NUM_THREADS=4"),
        ("cpu", {"governor": "powersave"}, "governor is powersave", "sudo cpupower frequency-set"),
        (
            "cpu",
            {"memory_available_bytes": 1 << 30},
            "1.0 of 16.0 GiB of memory",
            "close programs",
        ),
        (
            "variables",
            {"CUDA_LAUNCH_BLOCKING": "1"},
            "every launch wait",
            "unset CUDA_LAUNCH_BLOC",
        ),
        ("variables", {"NVIDIA_TF32_OVERRIDE": "1"}, "into TF32", "unset NVIDIA_TF32_OVERRIDE"),
    ],
)
def test_fault_of_the_host(
    machine: Survey, table: str, change: dict[str, Any], what: str, fix: str
) -> None:
    machine.environment[table].update(change)
    [finding] = bad(machine)
    assert what in finding.what
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("cpu", {"governor": "performance"}),
        ("cpu", {"torch_threads": 1}),
        ("variables", {"CUDA_LAUNCH_BLOCKING": "0", "NVIDIA_TF32_OVERRIDE": "0"}),
    ],
)
def test_no_fault_of_the_host(machine: Survey, table: str, change: dict[str, Any]) -> None:
    machine.environment[table].update(change)
    assert bad(machine) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"nvml": "nvidia-ml-py is not installed"}, "no telemetry: nvidia-ml-py is not installed"),
        ({"throttling": ["power cap", "heat"]}, "throttled now by power cap, heat"),
        ({"compute_processes": 3}, "2 other processes compute on it"),
    ],
)
def test_fault_of_a_gpu(machine: Survey, change: dict[str, Any], what: str) -> None:
    machine.environment["gpus"]["cuda:0"].update(change)
    [finding] = bad(machine)
    assert finding.what == f"cuda:0: {what}"
    assert finding.fix


@pytest.mark.parametrize("gone", ["throttling", "compute_processes", "driver"])
def test_gpu_that_does_not_tell_all(machine: Survey, gone: str) -> None:
    """Without NVML the survey has neither of them; null means that the card does not say."""
    del machine.environment["gpus"]["cuda:0"][gone]
    assert bad(machine) == []
    machine.environment["gpus"]["cuda:0"][gone] = None
    assert bad(machine) == []


def test_unknown_version_of_torch(survey_of: Callable[..., Survey]) -> None:
    survey = replace(survey_of(), versions={})
    assert "torch ? measures on the CPU only" in diagnose(survey, IDLE)[-1].what


def test_load_is_read_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    class Percent:
        idle, steal = 60.0, 10.0

    monkeypatch.setattr(doctor.psutil, "cpu_times_percent", lambda interval: Percent)
    assert doctor.look_at_load(0.1) == Load(busy=pytest.approx(0.3), stolen=pytest.approx(0.1))
    del Percent.steal  # no such thing outside Linux
    assert doctor.look_at_load(0.1) == Load(busy=pytest.approx(0.4), stolen=0.0)
