"""Each block cut across several devices, by PyTorch's own tensor parallelism."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paraformer_bench.executions._branches import Forward
from paraformer_bench.executions._ranks import ALONE, Ranks
from paraformer_bench.models._blocks import Attention, Mlp
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_execution

_LOADS = ("torch._dynamo", "torch.distributed.tensor.parallel")


@register_execution("tensor_parallel", needs_branches=False, spread="ranks", loads=_LOADS)
def prepare(model: nn.Module, example: Tensor, ranks: Ranks = ALONE) -> Forward:
    """Heads and hidden units of every block cut across one process a device.

    `torch.distributed.tensor.parallel.parallelize_module` as it is: two all-reduces a block, one
    after another (Shoeybi et al., 1909.08053). What a serial net can do with several devices: a
    baseline for ``sharded``. On one device this is ``loop``.
    """
    if ranks.size == 1:
        return model
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    mlps = [module for module in model.modules() if isinstance(module, Mlp)]
    if not attentions and not mlps:
        raise Unsupported("tensor_parallel needs the reference blocks' attentions or MLPs")
    counts = [a.heads for a in attentions] + [m.expand.out_features for m in mlps]
    if any(count % ranks.size for count in counts):
        raise Unsupported(
            f"tensor_parallel needs heads and hidden units divisible by {ranks.size} devices"
        )
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = DeviceMesh.from_group(ranks.group, example.device.type)
    # Every rank has drawn the same weights: it takes its part without being sent it.
    cut = {"src_data_rank": None}
    for attention in attentions:
        plan = {"qkv": ColwiseParallel(), "project": RowwiseParallel()}
        parallelize_module(attention, mesh, plan, **cut)
        attention.heads //= ranks.size  # rows of the joint projection are ordered by head
    for mlp in mlps:
        plan = {"expand": ColwiseParallel(), "contract": RowwiseParallel()}
        parallelize_module(mlp, mesh, plan, **cut)
    hooks = [
        module.register_forward_hook(lambda module, args, output: ranks.note_sum(output))
        for module in [*(a.project for a in attentions), *(mlp.contract for mlp in mlps)]
    ]

    def run(x: Tensor) -> Tensor:
        # Under inference mode PyTorch works out anew at every operation how it is cut: four times
        # slower.
        with torch.inference_mode(False), torch.no_grad():
            output: Tensor = model(x)
        while hooks:  # the first call has noted what is summed
            hooks.pop().remove()
        return output

    return run
