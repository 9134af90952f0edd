"""PyTorch's compiler: the operations are fused and launched by generated code."""

from __future__ import annotations

import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import register_runtime

Call = Callable[[Tensor], Tensor]

_NO_LIMIT = 1_000_000
_OLD_LIMITS = ("cache_size_limit", "accumulated_cache_size_limit")
"""What torch 2.6 calls them."""
_NO_TOOLS = ("InvalidCxxCompiler", "TritonMissing")
"""What the compiler raises where it has no C++ compiler (CPU) or no Triton (GPU) to work with."""
_NO_USE = ("Failed to find C compiler", "Event device type CPU does not match")
"""What plain errors say where Triton has no C compiler, and where torch 2.11 cannot compile CUDA
events (https://github.com/pytorch/pytorch/issues/176486), which `streams` needs."""


@register_runtime("compile")
def wrap(call: Call, example: Tensor) -> CompiledCall:
    """`torch.compile` with its defaults, for fixed shapes; compiled before anything is timed."""
    return CompiledCall(call, example)


class CompiledCall:
    """A callable that has been compiled.

    Attributes:
        compile_seconds: Time of the first call, in which it was compiled. PyTorch keeps compiled
            code on disk: where it has compiled the same before, this is much shorter.

    Raises:
        Unsupported: There is nothing to compile with on this machine, or this version of PyTorch
            cannot compile such a call.
    """

    def __init__(self, call: Call, example: Tensor) -> None:
        # Imported here: it takes a second, and most workers compile nothing.
        from torch._dynamo import config
        from torch._dynamo.backends.registry import lookup_backend

        # Beyond it PyTorch goes on without the compiler. It counts by code object, and what is
        # compiled within a training step (the optimiser, say) is the same code in every case.
        for limit in ("recompile_limit", "accumulated_recompile_limit", *_OLD_LIMITS):
            if hasattr(config, limit):
                setattr(config, limit, _NO_LIMIT)

        inductor = lookup_backend("inductor")
        # PyTorch keeps the backend for ever: it must not hold this object, and with it the net.
        compiled = self._compiled = [0]

        def backend(graph: Any, inputs: Any) -> Any:
            compiled[0] += 1
            return inductor(graph, inputs)

        self._run: Call = torch.compile(_entry_of(call), backend=backend, dynamic=False)
        start = time.perf_counter()
        try:
            self._run(example)
        except Exception as error:
            why = next(filter(None, map(_unusable, _chain(error))), None)
            if why is None:
                raise
            raise Unsupported(f"torch.compile cannot work here: {why}") from None
        if example.is_cuda:
            torch.cuda.synchronize(example.device)
        self.compile_seconds = time.perf_counter() - start

    @property
    def compilations(self) -> int:
        """Graphs compiled so far; when it grows, a call was no ordinary one."""
        return self._compiled[0]

    def __call__(self, x: Tensor) -> Tensor:
        """Call the compiled code."""
        return self._run(x)


def _entry_of(call: Call) -> Call:
    """Wrap ``call`` in a function whose code object is its own.

    The compiler keeps what it compiled by code object and looks through all of it at every call:
    the cases that a worker holds side by side must not share one.
    """

    def entry(x: Tensor) -> Tensor:
        return call(x)

    code = entry.__code__.replace(co_name="entry")
    return FunctionType(code, entry.__globals__, "entry", None, entry.__closure__)


def _unusable(error: BaseException) -> str | None:
    """Say in a line why nothing can be compiled, if that is what an exception means."""
    name, lines = type(error).__name__, str(error).splitlines()
    if name in _NO_TOOLS:
        return next(iter(lines), name)
    # Triton builds what launches its kernels with the C compiler, and does not keep its words.
    if "CalledProcessError" in f"{name} {error}":
        headers = sysconfig.get_path("include", "posix_prefix")  # where Triton looks
        if not Path(headers, "Python.h").exists():
            return f"{headers} has no Python.h"
    return next((line.strip() for line in lines if any(w in line for w in _NO_USE)), None)


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and all that it was raised from."""
    chain = [error]
    for each in chain:
        inner = getattr(each, "inner_exception", None)
        for cause in (inner, each.__context__, each.__cause__):
            if cause is not None and cause not in chain:
                chain.append(cause)
    return chain
