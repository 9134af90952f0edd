"""What machine, driver and software this is: each collector returns plain JSON values."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from paraformer_bench.instrument.energy import open_meter
from paraformer_bench.instrument.meters import (
    NvmlTelemetry,
    open_telemetry,
    throttle_words,
    usable_cpus,
)
from paraformer_bench.study.child import VARIABLES
from paraformer_bench.study.run_folder import Tree

_PACKAGES = ("triton", "numpy", "pandas", "scipy", "matplotlib", "seaborn")
_VARIABLES = (*VARIABLES, "CUDA_VISIBLE_DEVICES")


def collect() -> Tree:
    """Return the environment: ``devices`` by name, then a table each for host, torch and GPUs.

    ``energy`` says for each device which counter can be read (``source``) or why none can
    (``reason``).
    """
    cpu = cpu_facts()
    gpus = {f"cuda:{i}": gpu_facts(i) for i in range(torch.cuda.device_count())}
    meters = {"cpu": open_meter(None)}
    meters |= {name: open_meter(facts["uuid"]) for name, facts in gpus.items()}
    cudnn = torch.backends.cudnn
    return {
        "devices": {"cpu": cpu_name(cpu)} | {name: facts["name"] for name, facts in gpus.items()},
        "cpu": cpu,
        "gpus": gpus,
        "energy": {name: {"source": m.source, "reason": m.reason} for name, m in meters.items()},
        # How far this process stands back: 0 to 19.
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "niceness": os.nice(0),
        },
        "torch": {
            "version": str(torch.__version__),
            "cuda": torch.version.cuda,
            "cudnn": cudnn.version() if cudnn.is_available() else None,
            "mkl": torch.backends.mkl.is_available(),
            "float32": "full precision; TF32 for dtype tf32 alone",
        },
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a result."""
    # What torch says of itself names its build too (+cpu, +cu130), its metadata may not.
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def cpu_name(facts: Mapping[str, Any]) -> str:
    """Name the CPU by its model and the cores that can be used of it."""
    return f"{facts['model']}, {facts['usable_cores']} cores"


def cpu_facts() -> Tree:
    """Model, cores, threads, clock and governor, memory in bytes and load average."""
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {
        "model": _cpu_model(),
        "usable_cores": len(usable_cpus()),
        "quota_cores": _quota_cores(),
        "physical_cores": psutil.cpu_count(logical=False),
        "torch_threads": torch.get_num_threads(),
        "clock_hz": int(frequency.current * 1e6) if frequency else None,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_available_bytes": psutil.virtual_memory().available,
        "load_average": round(os.getloadavg()[0], 2),
    }


def gpu_facts(index: int) -> Tree:
    """Name, size and driver of one GPU, and its state as NVML reports it."""
    properties = torch.cuda.get_device_properties(index)
    uuid = f"GPU-{properties.uuid}"
    facts: Tree = {
        "name": properties.name,
        "uuid": uuid,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "compute_capability": f"{properties.major}.{properties.minor}",
    }
    telemetry = open_telemetry(uuid)
    if isinstance(telemetry, NvmlTelemetry):
        bits = (state := telemetry.read()).pop("throttle_bits")
        facts |= state | {"throttling": throttle_words(int(bits or 0)) or None}
        facts |= {"driver": telemetry.driver(), "null_reasons": telemetry.null_reasons}
    else:
        facts["nvml"] = telemetry.null_reasons["telemetry"]
    return facts


def _quota_cores() -> float | None:
    """Cores' worth of time that the control group grants (cgroup v2); None without a limit.

    With more threads than that, all of them are stopped for the rest of every period.
    """
    quota, _, period = (_read("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return None if quota == "max" else int(quota) / int(period)


def _cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
