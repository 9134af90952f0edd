"""What can be measured: `ModelSpec`, `Case` and their stable names. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import isqrt
from typing import Any

from paraformer_bench.study import checks
from paraformer_bench.study.errors import UsageError

DTYPES = ("float32", "tf32", "bfloat16", "float16", "float64")
"""``float32`` never uses TF32; ``tf32`` is float32 whose products may (Ampere and newer)."""
MODES = ("inference", "train")
SCOPES = ("whole", "trunk")
HEAD_WIDTH = 64
"""Width of one attention head when the number of heads is not given."""

# Bounds that no real study reaches; they turn a slip of the keyboard into a message.
LIMITS = {
    "depth": 16_384,
    "width": 65_536,
    "batch": 1_048_576,
    "image": 16_384,
    "patch": 16_384,
    "tokens": 1_048_577,
    "heads": 4_096,
    "branch_depth": 16_384,
    "devices": 1_024,
}

_COUNTS = [name for name in LIMITS if name != "tokens"]


@dataclass(frozen=True)
class ModelSpec:
    """The shape of one net; what a registered model builder receives.

    Attributes:
        depth: Blocks in the net: serial layers, or branches times ``branch_depth``.
        width: Features of a token.
        heads: Attention heads of one block.
        image: Height and width of the square input image, in pixels.
        patch: Height and width of one square patch, in pixels.
        branch_depth: Blocks that wait for each other in a net whose span does not grow with
            depth: chained in one branch, or steps of a model that has no such chains. 1 for
            models that have no choice.
        channels: Channels of the input image.
        classes: Outputs of the classification head.
        mlp_ratio: Hidden units of a block's MLP per feature.
    """

    depth: int
    width: int
    heads: int
    image: int = 224
    patch: int = 16
    branch_depth: int = 1
    channels: int = 3
    classes: int = 1000
    mlp_ratio: int = 4

    @property
    def branches(self) -> int:
        """Parallel branches in a net that has them."""
        return self.depth // self.branch_depth

    @property
    def tokens(self) -> int:
        """Sequence length: one token a patch and the class token."""
        return tokens_of(self.image, self.patch)

    @property
    def hidden(self) -> int:
        """Hidden units of one block's MLP."""
        return self.mlp_ratio * self.width


@dataclass(frozen=True)
class Case:
    """One thing to measure. Validate with `check` before use; `id` names it for ever.

    ``device`` is ``cpu`` or ``cuda:N``, and ``devices`` how many of them one call uses, that one
    among them; the other fields are DESIGN's vocabulary.
    """

    model: str
    execution: str
    runtime: str
    depth: int
    width: int
    batch: int
    image: int
    patch: int
    heads: int
    branch_depth: int
    dtype: str
    device: str
    mode: str = "inference"
    scope: str = "whole"
    devices: int = 1

    @property
    def tokens(self) -> int:
        """Sequence length: one token a patch and the class token."""
        return tokens_of(self.image, self.patch)

    @property
    def spec(self) -> ModelSpec:
        """The net this case runs."""
        return ModelSpec(
            self.depth, self.width, self.heads, self.image, self.patch, self.branch_depth
        )

    @cached_property
    def id(self) -> str:
        """Stable name made of letters, digits, ``.``, ``_`` and ``-`` only."""
        return f"{self.method}-d{self.depth}-{self.regime}"

    @cached_property
    def curve_id(self) -> str:
        """Name shared by the cases that differ in depth alone."""
        return f"{self.method}-{self.regime}"

    @cached_property
    def method(self) -> str:
        """Who is measured: model, execution, runtime, and the number of devices if not 1."""
        return method_name(self.model, self.execution, self.runtime, self.devices)

    @cached_property
    def regime(self) -> str:
        """Under what conditions: everything but the method and the depth.

        Cases of one regime are compared with each other, so they are measured side by side.
        ``branch_depth`` is part of it only where it is not 1.
        """
        parts = [f"w{self.width}", f"b{self.batch}", f"t{self.tokens}"]
        if self.patch != 16:
            parts.append(f"p{self.patch}")
        if self.heads * HEAD_WIDTH != self.width:
            parts.append(f"h{self.heads}")
        if self.branch_depth != 1:
            parts.append(f"k{self.branch_depth}")
        parts += [self.dtype, self.device.replace(":", ""), self.mode, self.scope]
        return "-".join(parts)

    @cached_property
    def group(self) -> str:
        """The regime without the branch depth: the cases that visit a worker side by side."""
        return replace(self, branch_depth=1).regime

    def to_json(self) -> dict[str, Any]:
        """Return the fields, ``tokens`` included, as JSON-ready values."""
        return asdict(self) | {"tokens": self.tokens}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Case:
        """Rebuild a case from `to_json`; keys of newer versions are ignored."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})

    def check(self, *, known: bool = True) -> Case:
        """Return the case itself, or raise `UsageError` naming the field that cannot be.

        Args:
            known: Precision, mode and scope must be among those of this version. Whoever reads
                what another version measured asks for text alone.
        """
        for name in _COUNTS:
            checks.whole(getattr(self, name), name, 1, LIMITS[name])
        for name in ("model", "execution", "runtime", "dtype", "device", "mode", "scope"):
            if not isinstance(value := getattr(self, name), str):
                raise UsageError(f"{name} must be text, not {value!r}")
        if known:
            checks.choice(self.dtype, "dtype", DTYPES)
            checks.choice(self.mode, "mode", MODES)
            checks.choice(self.scope, "scope", SCOPES)
        if self.width % self.heads:
            raise UsageError(f"width {self.width} is not divisible by heads {self.heads}")
        if self.image % self.patch:
            raise UsageError(f"image {self.image} is not divisible by patch {self.patch}")
        if self.depth % self.branch_depth:
            raise UsageError(
                f"depth {self.depth} is not divisible by branch_depth {self.branch_depth}: "
                f"take multiples of it"
            )
        return self


def method_name(model: str, execution: str, runtime: str, devices: int) -> str:
    """Name of who is measured; the number of devices is part of it only where it is not 1."""
    spread = f"-n{devices}" if devices != 1 else ""
    return f"{model}-{execution}-{runtime}{spread}"


def tokens_of(image: int, patch: int) -> int:
    """Sequence length of a square image cut into square patches, with a class token."""
    side: int = image // patch
    return side * side + 1


def image_for_tokens(tokens: int, patch: int) -> int:
    """Side in pixels of the square image that yields ``tokens``.

    Raises:
        UsageError: No square image has that many patches; the nearest counts are named.
    """
    side = isqrt(tokens - 1)
    if tokens < 2 or side * side != tokens - 1:
        low = max(side, 1)
        raise UsageError(
            f"tokens {tokens} is not a square number of patches and a class token: "
            f"nearest are {low**2 + 1} and {(low + 1) ** 2 + 1}"
        )
    return side * patch


def default_heads(width: int) -> int:
    """Heads of a reference net: one for every 64 features.

    Raises:
        UsageError: ``width`` is not a multiple of 64.
    """
    if width < HEAD_WIDTH or width % HEAD_WIDTH:
        low = max(width // HEAD_WIDTH, 1) * HEAD_WIDTH
        near = f"{low} or {low + HEAD_WIDTH}" if width > HEAD_WIDTH else f"{HEAD_WIDTH}"
        raise UsageError(
            f"width {width} is not divisible by heads of width {HEAD_WIDTH}: "
            f"try {near}, or give heads in the suite file"
        )
    return width // HEAD_WIDTH
