"""What a model costs as a function of its depth: formulas that people read and tests evaluate.

A formula is a Python expression over whole numbers. Names in it: ``L`` depth; ``k`` branch depth;
``n`` = L / k branches; ``b`` batch; ``t`` tokens; ``d`` width; ``h`` hidden units of one MLP;
``B`` parameters of one reference block; ``F`` operations of one reference block on the whole
batch; ``ceil``, ``min``. A multiply-add counts as two operations; norms, GELU, softmax and
additions are not counted, as in ``torch.utils.flop_counter``.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil

from paraformer_bench.study.case import ModelSpec
from paraformer_bench.study.errors import UsageError


@dataclass(frozen=True)
class Cost:
    """The blocks of a net; its embedding and head come on top (`fixed_parameters`, `fixed_flops`).

    Attributes:
        span: Blocks on the longest chain in which each waits for the one before.
        work: Floating-point operations of all blocks on the batch.
        parameters: Parameters of all blocks.
    """

    span: str
    work: str
    parameters: str

    def check(self) -> Cost:
        """Return the formulas themselves.

        Raises:
            UsageError: One of them cannot be evaluated.
        """
        spec = ModelSpec(depth=4, width=64, heads=1, branch_depth=2)
        for name, formula in asdict(self).items():
            try:
                evaluate(formula, spec, batch=1)
            except Exception as error:
                raise UsageError(f"{name} {formula!r} is no formula: {error}") from None
        return self


def evaluate(formula: str, spec: ModelSpec, batch: int) -> int:
    """Value of one formula of a `Cost` for a net of this shape on a batch of images."""
    names: Mapping[str, object] = {
        "L": spec.depth,
        "k": spec.branch_depth,
        "n": spec.branches,
        "b": batch,
        "t": spec.tokens,
        "d": spec.width,
        "h": spec.hidden,
        "B": block_parameters(spec),
        "F": block_flops(spec, batch),
        "ceil": ceil,
        "min": min,
    }
    return int(eval(formula, {"__builtins__": {}}, dict(names)))


def block_parameters(spec: ModelSpec) -> int:
    """Parameters of one reference block (`models._blocks.Block`)."""
    d, h = spec.width, spec.hidden
    return (3 * d * d + 3 * d) + (d * d + d) + (h * d + h) + (d * h + d) + 4 * d


def block_flops(spec: ModelSpec, batch: int) -> int:
    """Operations of one reference block on ``batch`` images."""
    t, d = spec.tokens, spec.width
    products = 2 * t * d * (3 * d + d + 2 * spec.hidden)
    attention = 2 * 2 * t * t * d
    return batch * (products + attention)


def fixed_parameters(spec: ModelSpec) -> int:
    """Parameters of the embedding and the head that all reference nets share."""
    d = spec.width
    embedding = spec.channels * spec.patch**2 * d + d + d + spec.tokens * d
    return embedding + 2 * d + d * spec.classes + spec.classes


def fixed_flops(spec: ModelSpec, batch: int) -> int:
    """Operations of the embedding and the head on ``batch`` images."""
    patches = 2 * (spec.tokens - 1) * spec.channels * spec.patch**2 * spec.width
    return batch * (patches + 2 * spec.width * spec.classes)
