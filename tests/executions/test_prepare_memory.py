"""No execution holds the weights twice, not even while it prepares a net."""

from __future__ import annotations

import json
from typing import Any

import pytest

MIB = 2**20
SLACK = 6 * MIB
"""What the interpreter and the allocator may take by themselves; half of one branch's weights."""

# In a process of its own, for the allocator's sake: what is freed of 256 KiB and more goes back to
# the system, so that the resident set tells what is held. A worker keeps freed blocks of up to 32
# MiB for later calls (`memory.steady_malloc`); there it would not. Some pages of the machinery are
# touched at the first call only: a small net is prepared before.
PROGRAM = """
import ctypes, json, sys
import torch
from torch.func import stack_module_state
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.instrument.memory import CpuMemory, release
from paraformer_bench.study.registry import EXECUTIONS, MODELS

M_MMAP_THRESHOLD = -3
ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 256 * 1024)


def twice(net, example):
    return stack_module_state(list(net.branches))


def measure(depth, width, prepare):
    spec = ModelSpec(depth=depth, width=width, heads=8, image=16, branch_depth=2)
    net = MODELS.get("paraformer").factory(spec).trunk.eval().requires_grad_(False)
    sizes = [p.numel() * p.element_size() for p in net.parameters()]
    example = torch.zeros(1, spec.tokens, width)
    kept = []
    memory = CpuMemory()
    memory.mark()
    peak = memory.peak(lambda: kept.append(prepare(net, example))).peak_bytes
    held = memory.peak(lambda: None).peak_bytes
    return {"weights": sum(sizes), "largest_stacked": max(sizes) * spec.branches,
            "peak": peak, "held": held}


with torch.inference_mode():
    ways = {"twice": twice} | {
        name: EXECUTIONS.get(name).factory for name in ("loop", "stacked", "vmap")
    }
    for way in ways.values():
        measure(4, 64, way)
    print(json.dumps({name: measure(12, 512, way) for name, way in ways.items()}))
"""


@pytest.fixture(scope="module")
def measured(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """Bytes by execution: the weights', the largest stacked tensor's, `prepare`'s at its peak."""
    result = cli.python("-c", PROGRAM, cwd=tmp_path_factory.mktemp("memory"))
    assert result.returncode == 0, result.stderr
    found: dict[str, dict[str, int]] = json.loads(result.stdout)
    if found["loop"]["peak"] is None:
        pytest.skip("this system does not tell the peak of the resident set")
    return found


@pytest.mark.parametrize("execution", ["loop", "stacked", "vmap"])
def test_prepare_needs_no_more_than_one_stacked_tensor(
    measured: dict[str, dict[str, int]], execution: str
) -> None:
    """All other weights are where they were, or have moved already."""
    seen = measured[execution]
    assert seen["weights"] > 140 * MIB
    bound = seen["largest_stacked"] + SLACK
    assert bound < seen["weights"] / 4
    assert seen["peak"] <= (SLACK if execution == "loop" else bound)


@pytest.mark.parametrize("execution", ["loop", "stacked", "vmap"])
def test_nothing_is_held_beyond_the_weights_afterwards(
    measured: dict[str, dict[str, int]], execution: str
) -> None:
    """Not even one branch's: a skeleton that kept its own would be 25 MiB."""
    assert measured[execution]["held"] <= SLACK


def test_weights_held_twice_would_be_seen(measured: dict[str, dict[str, int]]) -> None:
    """The recipe of PyTorch's model ensembling keeps the branches and their stack."""
    seen = measured["twice"]
    assert seen["peak"] >= seen["weights"] - SLACK
    assert seen["held"] >= seen["weights"] - SLACK
