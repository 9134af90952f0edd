"""What breaks a GPU case breaks that case alone, through the real command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

PLUGIN = """
import torch
from torch import nn

from paraformer_bench import register_model


class Greedy(nn.Module):
    def forward(self, images):
        return torch.empty(2**50, device=images.device)


class OutOfBounds(nn.Module):
    def forward(self, images):
        table = torch.zeros(4, device=images.device)
        return table[torch.full((len(images), 2), 99, device=images.device)]


@register_model("greedy")
def build_greedy(spec):
    return Greedy()


@register_model("out_of_bounds")
def build_out_of_bounds(spec):
    return OutOfBounds()
"""

SUITE = """
name = "faults"

[protocol]
blocks = 2
seconds_per_case = 0.05
timeout_seconds = 60

[[grid]]
models = ["serial", "paraformer", {faulty!r}]
executions = ["loop", "stacked"]
depth = [1, 2, 4]
width = 64
tokens = 17
"""


def sweep(cli: Any, files: Any, folder: Path, faulty: str) -> tuple[int, dict[str, list[Any]]]:
    """Sweep nets that work beside one that does not; return exit code and records by model."""
    plugin = files.write(folder / "plugin.py", PLUGIN)
    suite = files.write(folder / "faults.toml", SUITE.format(faulty=faulty))
    result = cli(
        *(
            "sweep",
            "--profile",
            "none",
            "--device",
            "cuda:0",
            "--suite",
            suite,
            "--plugin",
            plugin,
            "--out",
            "run",
        ),
        cwd=folder,
        gpu=True,
        patience=600,  # every lost worker is replaced by one that loads torch and CUDA anew
    )
    records: dict[str, list[Any]] = {}
    for record in files.records(folder / "run"):
        records.setdefault(record.case.model, []).append(record)
    return result.returncode, records


def assert_the_others_are_measured(records: dict[str, list[Any]]) -> None:
    assert len(records["serial"]) == 2 * 3
    assert len(records["paraformer"]) == 2 * 6
    for record in records["serial"] + records["paraformer"]:
        assert record.status == "ok", record.reason
        assert record.wall_seconds
        assert record.device_seconds


def test_out_of_memory_leaves_a_healthy_worker(cli: Any, files: Any, tmp_path: Path) -> None:
    code, records = sweep(cli, files, tmp_path, "greedy")
    assert code == 0  # out of memory is a result
    assert [record.status for record in records["greedy"]] == ["oom"] * 6
    assert all("out of memory" in record.reason for record in records["greedy"])
    assert_the_others_are_measured(records)
    # No worker was lost: nothing was interrupted.
    assert not any("interrupted" in r.flags for rs in records.values() for r in rs)


def test_a_device_side_assert_costs_one_case_and_its_worker(
    cli: Any, files: Any, tmp_path: Path
) -> None:
    code, records = sweep(cli, files, tmp_path, "out_of_bounds")
    assert code == 3
    assert [record.status for record in records["out_of_bounds"]] == ["error"] * 6
    assert all("assert" in record.reason for record in records["out_of_bounds"])
    assert_the_others_are_measured(records)
