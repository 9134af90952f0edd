"""What can be measured, each idea once: `Method`, `Regime`, `Case` and `Curve`, with their names.

A method is who is measured, a regime under what conditions, a case one thing to measure, and a
curve the cases that differ in depth alone. A regime's axes are open: a model declares the ones it
has (`registry.register_model`); those of the reference nets are `REFERENCE_AXES`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from typing import Any

from msgspec import Struct

from paraformer_bench.study import checks
from paraformer_bench.study.errors import UsageError

DTYPES = ("float32", "tf32", "bfloat16", "float16", "float64")
"""``float32`` never uses TF32; ``tf32`` is float32 whose products may (Ampere and newer)."""
MODES = ("inference", "train")
SCOPES = ("whole", "trunk")
HEAD_WIDTH = 64
"""Width of one attention head when the number of heads is not given."""

REFERENCE_AXES = ("width", "image", "patch", "heads", "branch_depth")
"""Axes of the reference nets; ``tokens`` follows from image and patch."""

SERIAL = "serial"
"""The model that all others are compared with."""

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
MOST = 1_048_576
"""Limit of an axis that is not in `LIMITS`."""

# Names that stand before an axis's value in the name of a regime, in that order; the value that
# goes without saying is left out. Other axes follow under their own names.
_SIGNS = {"width": "w", "batch": "b", "tokens": "t", "patch": "p", "heads": "h"}

Fields = dict[str, Any]
"""Fields of something by their names, as a line of JSON or a row of a table has them."""

Axes = tuple[tuple[str, int], ...]
"""Names and values; hashable, in the order of `REFERENCE_AXES`, then by name."""


@dataclass(frozen=True)
class ModelSpec:
    """The shape of one net; what a registered model builder receives.

    An axis that the model declares beside those below is an attribute too: ``spec.experts``.

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
        others: Axes of this model alone.
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
    others: Axes = field(default=(), repr=False)  # weights are seeded by what is shown

    def __getattr__(self, name: str) -> int:
        for axis, value in self.__dict__.get("others", ()):
            if axis == name:
                return int(value)
        raise AttributeError(f"the model declares no axis {name!r}")

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


class Method(Struct, frozen=True, order=True, dict=True):
    """Who is measured: an architecture, how its branches are run, how that is launched.

    ``devices`` is how many devices one call uses.
    """

    model: str
    execution: str
    runtime: str
    devices: int = 1

    @cached_property
    def name(self) -> str:
        """The parts joined; the number of devices is one of them only where it is not 1."""
        spread = f"-n{self.devices}" if self.devices != 1 else ""
        return f"{self.model}-{self.execution}-{self.runtime}{spread}"

    @property
    def label(self) -> str:
        """Words for a legend or the head of a row; of a whole run (no execution) its name."""
        if not self.execution:
            return self.model
        devices = f", {self.devices} devices" if self.devices != 1 else ""
        return f"{self.model} {self.execution}, {self.runtime}{devices}"


class Regime(Struct, frozen=True, order=True, dict=True):
    """Under what conditions: everything but the method and the depth.

    ``device`` is ``cpu`` or ``cuda:N``, the first of those that one call uses.
    """

    axes: Axes
    batch: int
    dtype: str
    device: str
    mode: str = "inference"
    scope: str = "whole"

    def get(self, axis: str) -> int | None:
        """Return the value of an axis, or None where the model has no such axis."""
        return self._values.get(axis)

    @property
    def branch_depth(self) -> int:
        """Blocks that wait for each other in a branch; 1 for models that have no choice."""
        return self.get("branch_depth") or 1

    @cached_property
    def tokens(self) -> int | None:
        """Sequence length; None where neither an image nor an axis of the model says it."""
        image, patch = self.get("image"), self.get("patch")
        return self.get("tokens") if image is None or patch is None else tokens_of(image, patch)

    @cached_property
    def name(self) -> str:
        """Stable name made of letters, digits, ``.``, ``_`` and ``-`` only."""
        values = {"width": self.get("width"), "batch": self.batch, "tokens": self.tokens}
        values |= {axis: self._values[axis] for axis in ("patch", "heads") if self._told(axis)}
        parts = [f"{_SIGNS[axis]}{value}" for axis, value in values.items() if value is not None]
        if self.branch_depth != 1:
            parts.append(f"k{self.branch_depth}")
        parts += [f"{axis}{value}" for axis, value in self.own_axes]
        parts += [self.dtype, self.device.replace(":", ""), self.mode, self.scope]
        return "-".join(parts)

    @cached_property
    def group(self) -> Regime:
        """The regime without the branch depth.

        Cases of one group are compared with each other, so they are measured side by side.
        """
        axes = tuple((name, 1 if name == "branch_depth" else n) for name, n in self.axes)
        return Regime(axes, self.batch, self.dtype, self.device, self.mode, self.scope)

    @property
    def own_axes(self) -> Axes:
        """Axes that are not among those of the reference nets."""
        known = (*REFERENCE_AXES, "tokens")
        return tuple((name, value) for name, value in self.axes if name not in known)

    @property
    def words(self) -> dict[str, str]:
        """Every condition in words by its name; patch and heads only where they surprise."""
        words = {"width": f"width {self.get('width')}"} if self.get("width") is not None else {}
        words["batch"] = f"batch {self.batch}"
        if self.tokens is not None:
            words["tokens"] = f"{self.tokens} tokens"
        if self._told("patch"):
            words["patch"] = f"patch {self.get('patch')}"
        if self._told("heads"):
            heads = self.get("heads")
            words["heads"] = f"{heads} head{'' if heads == 1 else 's'}"
        words |= {axis: f"{axis.replace('_', ' ')} {value}" for axis, value in self.own_axes}
        words |= {"dtype": self.dtype, "device": self.device, "mode": mode_word(self.mode)}
        words["scope"] = {"whole": "whole net", "trunk": "trunk only"}.get(self.scope, self.scope)
        return words

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Order in which a reader expects regimes: by size, then by kind."""
        sizes = tuple(self.get(axis) or 0 for axis in ("width", "patch", "heads"))
        width, patch, heads = sizes
        kinds = (self.dtype, self.device, self.mode, self.scope)
        return (width, self.tokens or 0, patch, heads, self.own_axes, self.batch, *kinds)

    def _told(self, axis: str) -> bool:
        """Whether patch or heads differ from what goes without saying."""
        value = self.get(axis)
        if value is None:
            return False
        return value != 16 if axis == "patch" else value * HEAD_WIDTH != self.get("width")

    @cached_property
    def _values(self) -> dict[str, int]:
        return dict(self.axes)


class Curve(Struct, frozen=True, dict=True):
    """The cases that differ in depth alone. A verdict is about a curve."""

    method: Method
    regime: Regime

    @cached_property
    def id(self) -> str:
        """Name shared by the cases of the curve."""
        return f"{self.method.name}-{self.regime.name}"

    @property
    def label(self) -> str:
        """What tells it from the other curves of its group, in words."""
        depth = self.regime.branch_depth
        return self.method.label + (f", branch depth {depth}" if depth != 1 else "")

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Order of the curves of a group: the serial net first, then by name."""
        method = self.method
        who = (method.model, method.execution, method.runtime)
        return (method.model != SERIAL, *who, self.regime.branch_depth, method.devices)

    def flat(self) -> Fields:
        """Return every field by its name, as files and tables have them, ``tokens`` too."""
        fields = Case(self.method, self.regime, 0).flat()
        del fields["depth"]
        return fields


class Case:
    """One thing to measure: a method, a regime and a depth. Not to be changed; `id` names it.

    Files and tables have its fields flat, by their names (`flat`, `of`).

    Args:
        method: Who.
        regime: Under what conditions.
        depth: Blocks in the net.
    """

    def __init__(self, method: Method, regime: Regime, depth: int) -> None:
        self.method = method
        self.regime = regime
        self.depth = depth

    @classmethod
    def of(cls, **fields: Any) -> Case:
        """Build a case from its fields by name, as `flat` returns them.

        Whole numbers that are no field of a method or regime are axes of the model. Text under a
        name that is not known is ignored: a newer version wrote it. ``tokens`` is too where image
        and patch say it.

        Raises:
            TypeError: A field that has no default is missing.
        """
        who = {name: fields.pop(name) for name in Method.__struct_fields__ if name in fields}
        names = [name for name in Regime.__struct_fields__ if name != "axes"]
        conditions = {name: fields.pop(name) for name in names if name in fields}
        depth = fields.pop("depth")
        if {"image", "patch"} <= fields.keys():
            fields.pop("tokens", None)
        axes = {
            name: value
            for name, value in fields.items()
            if name in LIMITS or (isinstance(value, int) and not isinstance(value, bool))
        }
        return cls(Method(**who), Regime(in_order(axes), **conditions), depth)

    def flat(self) -> Fields:
        """Return the fields by name as JSON-ready values, ``tokens`` included."""
        method, regime = self.method, self.regime
        fields: Fields = {
            "model": method.model,
            "execution": method.execution,
            "runtime": method.runtime,
            "depth": self.depth,
        }
        axes = dict(regime.axes)
        fields |= {"width": axes["width"]} if "width" in axes else {}
        fields |= {"batch": regime.batch, **axes}
        fields |= {name: getattr(regime, name) for name in ("dtype", "device", "mode", "scope")}
        fields["devices"] = method.devices
        if regime.tokens is not None:
            fields["tokens"] = regime.tokens
        return fields

    def replace(self, **changes: Any) -> Case:
        """Return a case with other values of some fields."""
        return Case.of(**(self.flat() | changes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Case) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Case({self.id})"

    @cached_property
    def _key(self) -> tuple[Method, Regime, int]:
        return self.method, self.regime, self.depth

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    @cached_property
    def id(self) -> str:
        """Stable name made of letters, digits, ``.``, ``_`` and ``-`` only."""
        return f"{self.method.name}-d{self.depth}-{self.regime.name}"

    @cached_property
    def curve(self) -> Curve:
        """The curve it belongs to."""
        return Curve(self.method, self.regime)

    @cached_property
    def curve_id(self) -> str:
        """Name of its curve."""
        return self.curve.id

    @cached_property
    def group(self) -> str:
        """Name of its regime without the branch depth: what is measured side by side."""
        return self.regime.group.name

    @cached_property
    def spec(self) -> ModelSpec:
        """The net this case runs; axes that the model does not have are as by default."""
        axes = dict(self.regime.axes)
        shape = {name: axes[name] for name in REFERENCE_AXES if name in axes}
        shape = {"width": HEAD_WIDTH, "heads": 1} | shape
        others = tuple(pair for pair in self.regime.axes if pair[0] not in REFERENCE_AXES)
        return ModelSpec(self.depth, **shape, others=others)

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Order of a table: regimes, then methods, then depths."""
        regime = self.regime
        return (regime.sort_key, self.method, regime.branch_depth, self.depth)

    @property
    def model(self) -> str:
        """The architecture."""
        return self.method.model

    @property
    def execution(self) -> str:
        """How its branches are run."""
        return self.method.execution

    @property
    def runtime(self) -> str:
        """How the callable is launched."""
        return self.method.runtime

    @property
    def devices(self) -> int:
        """How many devices one call uses."""
        return self.method.devices

    @property
    def batch(self) -> int:
        """Inputs of one call."""
        return self.regime.batch

    @property
    def dtype(self) -> str:
        """Precision, one of `DTYPES`."""
        return self.regime.dtype

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda:N``."""
        return self.regime.device

    @property
    def mode(self) -> str:
        """One of `MODES`."""
        return self.regime.mode

    @property
    def scope(self) -> str:
        """One of `SCOPES`."""
        return self.regime.scope

    def check(self, *, known: bool = True) -> Case:
        """Return the case itself, or raise `UsageError` naming the field that cannot be.

        Args:
            known: Precision, mode and scope must be among those of this version. Whoever reads
                what another version measured asks for text alone.
        """
        axes = dict(self.regime.axes)
        counts = {"depth": self.depth, "batch": self.batch, "devices": self.devices} | axes
        for name, value in counts.items():
            checks.whole(value, name, 1, LIMITS.get(name, MOST))
        for name in ("model", "execution", "runtime", "dtype", "device", "mode", "scope"):
            if not isinstance(text := getattr(self, name), str):
                raise UsageError(f"{name} must be text, not {text!r}")
        if known:
            checks.choice(self.dtype, "dtype", DTYPES)
            checks.choice(self.mode, "mode", MODES)
            checks.choice(self.scope, "scope", SCOPES)
        for whole, part in (("width", "heads"), ("image", "patch")):
            if whole in axes and part in axes and axes[whole] % axes[part]:
                raise UsageError(f"{whole} {axes[whole]} is not divisible by {part} {axes[part]}")
        if self.depth % self.regime.branch_depth:
            raise UsageError(
                f"depth {self.depth} is not divisible by branch_depth "
                f"{self.regime.branch_depth}: take multiples of it"
            )
        return self


def digest(cases: Iterable[Case]) -> str:
    """Return what tells the cases of a run from those of any other."""
    ids = sorted(case.id for case in cases)
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def in_order(axes: Mapping[str, int]) -> Axes:
    """Return axes as a regime holds them."""
    known = {name: axes[name] for name in REFERENCE_AXES if name in axes}
    return tuple({**known, **{name: axes[name] for name in sorted(axes)}}.items())


def mode_word(mode: str) -> str:
    """Name what is timed: ``training`` for mode ``train``, else the mode itself."""
    return {"train": "training"}.get(mode, mode)


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
