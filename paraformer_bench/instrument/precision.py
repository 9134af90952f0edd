"""Precisions by the names that cases give them: how numbers are stored and multiplied."""

from __future__ import annotations

import torch

from paraformer_bench.study.errors import Unsupported

_FIRST_WITH_TF32 = 8
"""Major compute capability of the first GPUs with TF32 tensor cores (Ampere)."""


def storage(name: str) -> torch.dtype:
    """Type in which weights and activations of a precision are stored."""
    dtype: torch.dtype = torch.float32 if name == "tf32" else getattr(torch, name)
    return dtype


def use(name: str) -> None:
    """Let float32 products take TF32 shortcuts if ``name`` is ``tf32``, and never otherwise.

    This is a setting of the whole process: it must be made before the calls of each case.
    """
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    torch.backends.cudnn.allow_tf32 = name == "tf32"


def check(name: str, device: torch.device) -> None:
    """Raise `Unsupported` if the device would silently compute in another precision."""
    if name != "tf32":
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < _FIRST_WITH_TF32:
        raise Unsupported("tf32 needs a CUDA device of compute capability 8.0 or newer")
