"""What would spoil a measurement on this machine, and how to fix it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from paraformer_bench.study.calibration import ABSOLUTE, RELATIVE, Calibration
from paraformer_bench.study.record import OTHERS_CORES
from paraformer_bench.study.run_folder import Tree
from paraformer_bench.study.survey import Survey

_GIB = 1024**3
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``good`` or not, what was seen, and the remedy if there is one."""

    good: bool
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Load:
    """How busy the CPU was during a short look, as shares of all cores in [0, 1].

    Attributes:
        busy: Used by anyone on this machine.
        stolen: Wanted here but given to other virtual machines.
    """

    busy: float
    stolen: float


def look_at_load(seconds: float = _LOOK_SECONDS) -> Load:
    """Watch the CPU for ``seconds``."""
    shares = psutil.cpu_times_percent(interval=seconds)
    stolen = getattr(shares, "steal", 0.0)
    return Load(busy=(100 - shares.idle - stolen) / 100, stolen=stolen / 100)


def diagnose(survey: Survey, load: Load) -> list[Finding]:
    """Return what helps and what spoils, the CPU first, then each GPU."""
    environment = survey.environment
    findings = list(_cpu(environment["cpu"], load))
    findings.append(_energy("cpu", environment["energy"]["cpu"]))
    findings += _variables(environment["variables"])
    if not survey.gpus:
        findings.append(
            Finding(
                True,
                f"no CUDA device: torch {survey.versions.get('torch', '?')} measures on the CPU "
                f"only; runtime graph and device times are skipped",
            )
        )
    for name, gpu in environment["gpus"].items():
        findings += _gpu(name, gpu)
        findings.append(_energy(name, environment["energy"][name]))
    return findings


def judge(calibration: Calibration) -> Finding:
    """Say whether the instrument read every known delay well enough."""
    what, basis = calibration.device, calibration.basis
    limit = f"{RELATIVE:.0%} or {ABSOLUTE[basis] * 1e6:.0f} us, whichever is larger"
    if calibration.good:
        return Finding(True, f"{what}: known delays are read to within {limit} ({basis} time)")
    wrong = [r for r in calibration.readings if r.basis == basis and not r.within]
    delays = ", ".join(f"{reading.asked_seconds * 1e6:,.0f} us" for reading in wrong)
    return Finding(
        False,
        f"{what}: {basis} time is off by more than {limit}, for delays of {delays}",
        "stop other programs and calibrate again; if it stays, do not trust such short times",
    )


def _cpu(cpu: Tree, load: Load) -> Iterator[Finding]:
    cores = cpu["usable_cores"] or 1
    yield Finding(True, f"cpu: {cpu['model']}, {cores} usable cores")
    if load.busy * cores > OTHERS_CORES:
        yield Finding(
            False,
            f"other programs use {load.busy * cores:.1f} of {cores} cores",
            "stop them, or add blocks: noise makes verdicts inconclusive, not wrong",
        )
    else:
        yield Finding(True, f"the cores are idle ({load.busy:.0%} busy)")
    if load.stolen > 0.01:
        yield Finding(
            False,
            f"other virtual machines take {load.stolen:.0%} of the CPU",
            "use a machine of your own, or add blocks",
        )
    if cpu["torch_threads"] > cores:
        yield Finding(
            False,
            f"torch uses {cpu['torch_threads']} threads on {cores} cores",
            f"set OMP_NUM_THREADS={cores}",
        )
    else:
        yield Finding(True, f"torch uses {cpu['torch_threads']} threads")
    if cpu["governor"] not in (None, "performance"):
        yield Finding(
            False,
            f"the CPU's frequency governor is {cpu['governor']}",
            "sudo cpupower frequency-set -g performance",
        )
    free = cpu["memory_available_bytes"]
    yield Finding(
        free > 2 * _GIB,
        f"{free / _GIB:.1f} of {cpu['memory_bytes'] / _GIB:.1f} GiB of memory are free",
        "" if free > 2 * _GIB else "close programs: swapping ruins every time",
    )


def _energy(name: str, counter: dict[str, str | None]) -> Finding:
    """Whether energy can be read: it spoils no time if not."""
    reason = counter["reason"]
    if reason is None:
        return Finding(True, f"{name}: the energy of calls can be read ({counter['source']})")
    fix = ""
    if reason.startswith("permission denied on "):
        fix = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj, until the next start"
    return Finding(True, f"{name}: the energy of calls cannot be read: {reason}", fix)


def _variables(variables: dict[str, str]) -> Iterator[Finding]:
    if variables.get("CUDA_LAUNCH_BLOCKING", "0") != "0":
        yield Finding(
            False, "CUDA_LAUNCH_BLOCKING makes every launch wait", "unset CUDA_LAUNCH_BLOCKING"
        )
    if variables.get("NVIDIA_TF32_OVERRIDE") == "1":
        yield Finding(
            False,
            "NVIDIA_TF32_OVERRIDE=1 turns float32 into TF32: float32 cases will not pass the gate",
            "unset NVIDIA_TF32_OVERRIDE",
        )


def _gpu(name: str, gpu: Tree) -> Iterator[Finding]:
    yield Finding(
        True,
        f"{name}: {gpu['name']}, {gpu['memory_bytes'] / _GIB:.0f} GiB, "
        f"{gpu['multiprocessors']} multiprocessors, driver {gpu.get('driver') or 'unknown'}",
    )
    if "nvml" in gpu:
        yield Finding(
            False,
            f"{name}: no telemetry: {gpu['nvml']}",
            "install nvidia-ml-py; without it clocks and throttling are not seen",
        )
    if gpu.get("throttling"):
        yield Finding(
            False, f"{name}: throttled now by {', '.join(gpu['throttling'])}", "let it cool down"
        )
    # The survey itself may hold a context by now.
    others = (gpu.get("compute_processes") or 0) - 1
    if others > 0:
        yield Finding(
            False,
            f"{name}: {others} other processes compute on it",
            "stop them (nvidia-smi lists them), or choose another GPU with --gpu",
        )
