"""Names of models, executions and runtimes, filled by decorators and looked up lazily.

A file ``models/NAME.py``, ``executions/NAME.py`` or ``runtimes/NAME.py`` of this package
registers NAME and is imported when NAME is first asked for; files that start with an underscore
are shared parts. Plugins register through the same decorators. Nothing here imports torch, but
the files that register things do.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from paraformer_bench.study import checks
from paraformer_bench.study.case import REFERENCE_AXES, ModelSpec
from paraformer_bench.study.cost import Cost, evaluate
from paraformer_bench.study.errors import UsageError, unknown_name
from paraformer_bench.study.plugins import source_of

Factory = Callable[..., Any]
Warm = Callable[[Callable[[], object], int], object]
"""``warm(product, branches)``; see `register_execution`."""
DEVICE_TYPES = ("cpu", "cuda")
RANKS, THREADS = SPREADS = ("ranks", "threads")
"""How an execution uses several devices: a process for each, or one process for all of them."""
CHAIN_AXIS = "branch_depth"
"""The one of `REFERENCE_AXES` that is an axis of those nets alone whose branches can be chains."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a registered name; a child process tells its parent so, as JSON.

    Attributes:
        name: What users write.
        summary: First line of the factory's docstring.
        source: Module or plugin file that registered it.
        devices: Device types it can run on; elsewhere its cases are skipped with that reason.

    Raises:
        UsageError: A value makes no sense.
    """

    name: str
    summary: str = ""
    source: str = ""
    devices: tuple[str, ...] = DEVICE_TYPES

    def __post_init__(self) -> None:
        for device in self.devices:
            checks.choice(device, "device type", DEVICE_TYPES)


class ModelTraits(Traits, frozen=True, kw_only=True):
    """What is known of a model.

    Attributes:
        branched: It has parallel branches that executions can find.
        axes: Names of the whole numbers, beside depth and batch, that its shape depends on.
        cost: Its span, work and parameters, if it states them.
    """

    branched: bool = False
    axes: tuple[str, ...] = ()
    cost: Cost | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for axis in self.axes:
            if not isinstance(axis, str) or not _NAME.fullmatch(axis):
                raise UsageError(
                    f"axis {axis!r} must be a name of lower-case letters, digits and underscores"
                )
        if len(set(self.axes)) < len(self.axes):
            raise UsageError(f"an axis is named twice: {', '.join(self.axes)}")
        if self.cost:
            self.cost.check()

    @property
    def chained(self) -> bool:
        """Whether ``branch_depth`` means something to it."""
        return CHAIN_AXIS in self.axes

    @property
    def control(self) -> bool:
        """Whether it is there to compare with: its span grows with L, or it has no branches.

        A model that does not state its cost is taken at its word: the claim is about it.
        """
        if self.cost is None:
            return False
        shallow, deep = (
            evaluate(self.cost.span, ModelSpec(depth, 64, heads=1), batch=1) for depth in (8, 16)
        )
        return not self.branched or deep > shallow


class ExecutionTraits(Traits, frozen=True, kw_only=True):
    """What is known of an execution; see `register_execution`.

    Attributes:
        needs_branches: It makes no sense for a model without branches.
        spread: ``"ranks"`` or ``"threads"`` if it can use several devices, else empty.
        loads: Modules that it needs on several devices and that take long to import: they are
            imported before its first such case, and its memory is not charged for them.
    """

    needs_branches: bool = True
    spread: str = ""
    loads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spread:
            checks.choice(self.spread, "spread", SPREADS)


class RuntimeTraits(Traits, frozen=True, kw_only=True):
    """What is known of a runtime."""


T = TypeVar("T", bound=Traits)


@dataclass(frozen=True)
class Registered(Generic[T]):
    """One registered thing.

    Attributes:
        traits: What is known of it.
        factory: The decorated function.
        warm: For an execution or a runtime: does a product wherever its calls may do one.
    """

    traits: T
    factory: Factory
    warm: Warm | None = None


class Registry(Generic[T]):
    """What is registered of one kind, backed by the files of one subpackage."""

    def __init__(self, kind: str, traits: type[T], package: str) -> None:
        self.kind = kind
        self._traits = traits
        self._package = package
        self._registered: dict[str, Registered[T]] = {}

    def register(
        self, name: str, *, warm: Warm | None = None, **traits: Any
    ) -> Callable[[Factory], Factory]:
        """Return the decorator that registers a function under ``name``.

        Args:
            name: Lower-case letters, digits and underscores.
            warm: See `Registered`.
            **traits: Of this registry's kind of `Traits`.

        Raises:
            UsageError: A trait makes no sense; or, when a function is decorated, the name is
                malformed or already taken.
        """
        if not isinstance(name, str):
            raise UsageError(
                f'a {self.kind} needs a name: write @register_{self.kind}("its_name")'
            )
        checked = self._traits(name=name, **traits)

        def decorate(factory: Factory) -> Factory:
            summary, *_ = [*(inspect.getdoc(factory) or "").splitlines(), ""]
            source = source_of(factory.__module__)
            told = msgspec.structs.replace(checked, summary=summary, source=source)
            self.add(Registered(told, factory, warm))
            return factory

        return decorate

    def add(self, new: Registered[T]) -> None:
        """Register ``new``.

        Raises:
            UsageError: The name is malformed or already taken.
        """
        name, source = new.traits.name, new.traits.source
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{self.kind} name {name!r} must be lower-case letters, digits and "
                f"underscores, starting with a letter, 64 at most"
            )
        own = source.startswith(self._package + ".")
        taken = self._registered.get(name)
        if taken or (not own and name in self._files()):
            owner = taken.traits.source if taken else f"{self._package}.{name}"
            raise UsageError(f"{self.kind} {name!r} is already registered by {owner}")
        self._registered[name] = new

    def get(self, name: str) -> Registered[T]:
        """Return what is registered under ``name``, importing its file if need be.

        Raises:
            UsageError: Nobody registers that name; the nearest known one is suggested.
        """
        if name not in self._registered and name in self._files():
            importlib.import_module(f"{self._package}.{name}")
        if name not in self._registered:
            raise unknown_name(self.kind, name, self.names())
        return self._registered[name]

    def names(self) -> list[str]:
        """Every name that `get` accepts, sorted."""
        return sorted(set(self._files()) | set(self._registered))

    def traits(self) -> dict[str, T]:
        """The traits of every name, sorted; imports all files."""
        return {name: self.get(name).traits for name in self.names()}

    def _files(self) -> list[str]:
        paths = importlib.import_module(self._package).__path__
        return [m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")]


MODELS = Registry("model", ModelTraits, "paraformer_bench.models")
EXECUTIONS = Registry("execution", ExecutionTraits, "paraformer_bench.executions")
RUNTIMES = Registry("runtime", RuntimeTraits, "paraformer_bench.runtimes")


def register_model(
    name: str,
    *,
    branched: bool = False,
    chained: bool | None = None,
    cost: Cost | None = None,
    axes: tuple[str, ...] | None = None,
) -> Callable[[Factory], Factory]:
    """Register ``build(spec: ModelSpec) -> nn.Module`` under ``name``.

    The module's forward takes images of shape (batch, channels, height, width).

    Args:
        name: Lower-case letters, digits and underscores.
        branched: The module has parallel branches that executions other than ``loop`` can find.
        chained: ``branch_depth`` means something to it, so that a suite may vary it; by default
            that is so for models with branches.
        cost: Span, work and parameters as functions of depth, shown by ``list models``.
        axes: Names of the whole numbers that its shape depends on, beside depth and batch; by
            default `REFERENCE_AXES`, ``branch_depth`` among them if it is ``chained``.

    Raises:
        UsageError: A formula of ``cost`` cannot be evaluated.
    """
    if axes is None:
        chained = branched if chained is None else chained
        axes = tuple(axis for axis in REFERENCE_AXES if chained or axis != CHAIN_AXIS)
    return MODELS.register(name, branched=branched, axes=axes, cost=cost)


def register_execution(
    name: str, *, warm: Warm | None = None, **traits: Any
) -> Callable[[Factory], Factory]:
    """Register ``prepare(model, example) -> callable``, one way of running branches.

    One that can use several devices says by ``spread`` how, and gets a third argument where it
    shall use more than one. With ``"ranks"`` every device has a process of its own, all of which
    build the same model, call ``prepare(model, example, ranks)`` with their own `parts.Ranks`, and
    later what it returned, with the same input. With ``"threads"`` it is one process, which calls
    ``prepare(model, example, devices)`` with all of them, the model's own first.

    Args:
        name: Lower-case letters, digits and underscores.
        warm: Where its calls use other CUDA streams than the current one, or threads:
            ``warm(product, branches)`` calls ``product`` on each that a net with as many branches
            side by side uses. cuBLAS then makes the workspaces that it keeps for them before
            memory is looked at, and not in whichever case comes first.
        **traits: ``devices``, ``needs_branches``, ``spread`` and ``loads``, with meanings and
            defaults as in `ExecutionTraits`.
    """
    return EXECUTIONS.register(name, warm=warm, **traits)


def register_runtime(
    name: str, *, devices: tuple[str, ...] = DEVICE_TYPES, warm: Warm | None = None
) -> Callable[[Factory], Factory]:
    """Register ``wrap(callable, example) -> callable``, one way of launching a callable.

    Args:
        name: Lower-case letters, digits and underscores.
        devices: Device types it can run on; elsewhere its cases are skipped with that reason.
        warm: As for an execution, for the streams and threads of the runtime's own.
    """
    return RUNTIMES.register(name, devices=devices, warm=warm)
