"""What the survey tells about the machine, the software and the names there are."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import paraformer_bench
from paraformer_bench.instrument import environment
from paraformer_bench.study import child
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.survey import Survey
from paraformer_bench.workers import survey as surveyor


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


def test_the_survey_lists_every_name_with_its_devices() -> None:
    survey = surveyor.survey([])
    told = msgspec.json.decode(msgspec.json.encode(survey), type=Survey)
    assert told == survey
    assert {"serial", "paraformer", "paraformer_code"} <= set(told.models)
    assert {"loop", "stacked"} <= set(told.executions)
    assert {"eager", "graph"} <= set(told.runtimes)
    assert told.models["paraformer"].branched
    assert not told.executions["loop"].needs_branches
    assert told.runtimes["graph"].devices == ("cuda",)
    for name, traits in (told.models | told.executions | told.runtimes).items():
        assert traits.summary, f"{name} has no docstring"
        assert traits.source.startswith(paraformer_bench.__name__)


def test_a_plugin_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        surveyor.survey([tmp_path / "none.py"])


def test_the_process_prints_one_object_whatever_plugins_print(tmp_path: Path) -> None:
    plugin = tmp_path / "noisy.py"
    plugin.write_text("import os\nprint('hello')\nos.write(1, b'and more')\n")
    for arguments, key in (([plugin], "survey"), ([tmp_path / "none.py"], "error")):
        result = subprocess.run(
            child.command("workers.survey", *map(str, arguments)),
            env=child.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert key in json.loads(result.stdout)
    # The second ended before it loaded anything.
    assert "hello" not in result.stdout
