"""What the survey tells about the machine, the software and the names there are."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
import torch

from paraformer_bench.instrument import environment


def is_plain(value: Any) -> bool:
    """Whether JSON can carry ``value`` without loss."""
    return bool(json.loads(json.dumps(value, allow_nan=False)) == value)


def test_the_environment_is_plain_json() -> None:
    found = environment.collect()
    assert is_plain(found)
    assert set(found) == {"devices", "cpu", "gpus", "energy", "host", "torch", "variables"}
    assert next(iter(found["devices"])) == "cpu"
    assert len(found["gpus"]) == torch.cuda.device_count()
    assert set(found["energy"]) == set(found["devices"])
    for counter in found["energy"].values():
        assert (counter["source"] is None) is not (counter["reason"] is None)


def test_the_cpu_s_numbers_make_sense() -> None:
    cpu = environment.cpu_facts()
    assert cpu["usable_cores"] >= 1
    assert cpu["torch_threads"] == torch.get_num_threads()
    assert 2**27 < cpu["memory_available_bytes"] <= cpu["memory_bytes"]
    assert cpu["clock_hz"] is None or 1e8 < cpu["clock_hz"] < 1e11
    assert math.isfinite(cpu["load_average"])
    assert cpu["model"]


@pytest.mark.parametrize(
    ("text", "cores"), [(None, None), ("max 100000", None), ("150000 100000", 1.5)]
)
def test_the_quota_of_a_container(
    monkeypatch: pytest.MonkeyPatch, text: str | None, cores: float | None
) -> None:
    monkeypatch.setattr(environment, "_read", lambda path: text)
    assert environment._quota_cores() == cores


def test_versions_name_what_can_move_a_result() -> None:
    found = environment.versions()
    assert found["torch"] == torch.__version__
    assert found["python"] == sys.version.split()[0]
    assert is_plain(found)


def test_variables_that_set_threads_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    variables = environment.collect()["variables"]
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in variables


@pytest.mark.parametrize(
    "name",
    [
        "CUDA_DEVICE_MAX_CONNECTIONS",  # streams that launch side by side
        "CUDA_SCALE_LAUNCH_QUEUES",
        "CUDA_MODULE_LOADING",
        "CUBLAS_WORKSPACE_CONFIG",
        "TORCH_CUDNN_SDPA_DEPRIORITIZED",
    ],
)
def test_variables_that_change_what_a_gpu_does_are_kept(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "x")
    assert environment.collect()["variables"][name] == "x"
