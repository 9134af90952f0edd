"""CUDA graphs compute what eager computes, for every execution."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from paraformer_bench.instrument.bench import Builder, build_model, make_input
from paraformer_bench.instrument.device import Device
from paraformer_bench.study.case import Case
from paraformer_bench.study.registry import EXECUTIONS, RUNTIMES

pytestmark = pytest.mark.gpu

MakeCase = Callable[..., Case]


@pytest.mark.parametrize("execution", ["loop", "stacked", "vmap", "streams"])
@pytest.mark.parametrize(
    "model", ["paraformer", "paraformer_code", "parallel_vit", "layer_pairs", "picard"]
)
def test_a_replay_equals_the_eager_call_on_any_input(
    gpu: Device, make_case: MakeCase, model: str, execution: str
) -> None:
    case = make_case(model=model, execution=execution, depth=4, batch=2)
    example = make_input(case, gpu.torch_device, 0)
    run = EXECUTIONS.get(execution).factory(build_model(case, gpu.torch_device), example)
    replay = RUNTIMES.get("graph").factory(run, example)
    for seed in (1, 2):
        x = make_input(case, gpu.torch_device, seed)
        kept = x.clone()
        expected = run(x)
        error = (replay(x) - expected).norm() / expected.norm()
        assert error < 1e-6
        assert torch.equal(x, kept)
        assert torch.equal(example, kept)


@pytest.mark.parametrize(
    ("model", "execution"),
    [
        ("serial", "loop"),
        ("paraformer", "loop"),
        ("paraformer", "stacked"),
        ("paraformer", "vmap"),
        ("paraformer", "streams"),
        ("picard", "stacked"),
        ("parallel_vit", "vmap"),
        ("parallel_block", "streams"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gate_accepts_it(
    gpu: Device, make_case: MakeCase, model: str, execution: str, dtype: str
) -> None:
    case = make_case(model=model, execution=execution, runtime="graph", dtype=dtype)
    bench = Builder(gpu, 0).prepare(case, 0.1, {})
    assert bench.facts.relative_error < (1e-5 if dtype == "float32" else 0.05)
    assert bench.facts.warmup_calls >= 1
