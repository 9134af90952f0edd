"""How many operations each model takes under each execution, as a function of depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from paraformer_bench.instrument.counts import Counts, count
from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.cost import evaluate
from paraformer_bench.study.registry import EXECUTIONS, MODELS

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")

MakePair = Callable[..., Any]
CountsAt = Callable[..., Counts]
CONSTANT = ("paraformer", "paraformer_code", "parallel_vit", "picard")
"""The models whose span does not grow and whose branches are of one kind."""
NO_RULE = (
    "vmap's operations on a CPU no longer grow by one attention a block. PyTorch had no batching "
    "rule for the CPU's fused attention and called it once a branch. If this version has one, "
    "vmap may be constant there too: say so in the documentation, and change this test."
)


@pytest.fixture
def counts_at(make_pair: MakePair) -> CountsAt:
    """Count one call of a trunk: ``counts_at(model, execution, depth, **spec fields)``."""

    def counts_at(model: str, execution: str, depth: int, **fields: Any) -> Counts:
        shape = {"dtype": torch.float32, "width": 16, "image": 16}
        pair = make_pair(model, depth, execution=execution, scope="trunk", **shape | fields)
        with torch.inference_mode():
            return count(pair.prepared, pair.x)

    return counts_at


def steps(operations: dict[int, int]) -> set[float]:
    """Operations added for each block of depth, between any two depths."""
    (first, least), *others = sorted(operations.items())
    return {(more - least) / (depth - first) for depth, more in others}


@pytest.fixture
def operations_of(counts_at: CountsAt) -> Callable[..., dict[int, int]]:
    """Operations by depth: ``operations_of(model, execution, branch_depth)``."""

    def operations_of(model: str, execution: str, branch_depth: int = 1) -> dict[int, int]:
        depths = (2 * branch_depth, 4 * branch_depth, 64)
        return {
            depth: counts_at(model, execution, depth, branch_depth=branch_depth).operations
            for depth in depths
        }

    return operations_of


@pytest.mark.parametrize("branch_depth", [1, 2])
@pytest.mark.parametrize("model", MODELS.names())
def test_operations_of_the_loop_are_linear_in_the_work(
    operations_of: Callable[..., dict[int, int]], model: str, branch_depth: int
) -> None:
    added = steps(operations_of(model, "loop", branch_depth))
    if model in ("wide", "truncated"):  # a wider block, or a net cut short
        assert added == {0}
    else:
        assert len(added) == 1
        assert min(added) >= 9


@pytest.mark.parametrize("branch_depth", [1, 2])
@pytest.mark.parametrize("model", CONSTANT)
def test_operations_of_stacked_do_not_grow_with_depth(
    operations_of: Callable[..., dict[int, int]], model: str, branch_depth: int
) -> None:
    operations = operations_of(model, "stacked", branch_depth)
    assert steps(operations) == {0}
    assert operations[64] <= 14 * branch_depth


def test_operations_of_stacked_pairs_grow_with_the_number_of_pairs(
    operations_of: Callable[..., dict[int, int]],
) -> None:
    operations = operations_of("layer_pairs", "stacked")
    assert operations[4] == 2 * operations[2]
    assert operations[64] == 32 * operations[2]
    assert operations[2] < operations_of("layer_pairs", "loop")[2]


@pytest.mark.parametrize("branch_depth", [1, 2])
@pytest.mark.parametrize("model", CONSTANT)
def test_vmap_on_a_cpu_calls_attention_once_a_block_and_all_else_once(
    operations_of: Callable[..., dict[int, int]], model: str, branch_depth: int
) -> None:
    iterations = branch_depth if model == "picard" else 1
    assert steps(operations_of(model, "vmap", branch_depth)) == {iterations}, NO_RULE


@pytest.mark.parametrize("execution", ["stacked", "vmap"])
@pytest.mark.parametrize("model", [*CONSTANT, "layer_pairs"])
@pytest.mark.parametrize("branch_depth", [1, 2])
def test_the_arithmetic_is_what_the_model_states(
    counts_at: CountsAt, model: str, execution: str, branch_depth: int
) -> None:
    for batch in (1, 3):
        spec = ModelSpec(depth=6, width=16, heads=2, image=16, patch=8, branch_depth=branch_depth)
        cost = MODELS.get(model).traits.cost
        assert cost is not None
        counted = counts_at(model, execution, 6, batch=batch, branch_depth=branch_depth)
        assert counted.flops == evaluate(cost.work, spec, batch)


def test_every_execution_for_cpus_is_counted_here(
    operations_of: Callable[..., dict[int, int]],
) -> None:
    on_cpu = [each for each in EXECUTIONS.traits().values() if "cpu" in each.devices]
    alone = {each.name for each in on_cpu if not each.spread}
    assert alone == {"loop", "stacked", "vmap"}
    assert operations_of("paraformer", "sharded", 1) == operations_of("paraformer", "stacked", 1)
