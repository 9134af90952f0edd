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
from typing import Any

from paraformer_bench.study import checks
from paraformer_bench.study.cost import Cost
from paraformer_bench.study.errors import UsageError, unknown_name
from paraformer_bench.study.plugins import source_of

Factory = Callable[..., Any]
Warm = Callable[[Callable[[], object], int], object]
"""``warm(product, branches)``; see `register_execution`."""
DEVICE_TYPES = ("cpu", "cuda")
RANKS, THREADS = SPREADS = ("ranks", "threads")
"""How an execution uses several devices: a process for each, or one process for all of them."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Entry:
    """One registered thing.

    Attributes:
        name: What users write.
        kind: ``model``, ``execution`` or ``runtime``.
        factory: The decorated function.
        devices: Device types it can run on.
        branches: For a model: it has branches that executions can find. For an execution: it
            needs them.
        source: Module or plugin file that registered it.
        chains: For a model: ``branch_depth`` means something to it.
        cost: For a model: its span, work and parameters, if it states them.
        spread: For an execution: one of `SPREADS` if it can use several devices, else empty.
        loads: For an execution: modules to import before its first case on several devices.
        warm: For an execution or a runtime: does a product wherever its calls may do one.
    """

    name: str
    kind: str
    factory: Factory
    devices: tuple[str, ...]
    branches: bool
    source: str
    chains: bool = False
    cost: Cost | None = None
    spread: str = ""
    loads: tuple[str, ...] = ()
    warm: Warm | None = None

    @property
    def summary(self) -> str:
        """First line of the factory's docstring."""
        lines = (inspect.getdoc(self.factory) or "").splitlines()
        return lines[0] if lines else ""


class Registry:
    """The entries of one kind, backed by the files of one subpackage."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Register ``entry``.

        Raises:
            UsageError: The name is malformed or already taken.
        """
        if not _NAME.fullmatch(entry.name):
            raise UsageError(
                f"{self.kind} name {entry.name!r} must be lower-case letters, digits and "
                f"underscores, starting with a letter, 64 at most"
            )
        own = entry.source.startswith(self._package + ".")
        taken = self._entries.get(entry.name)
        if taken or (not own and entry.name in self._files()):
            owner = taken.source if taken else f"{self._package}.{entry.name}"
            raise UsageError(f"{self.kind} {entry.name!r} is already registered by {owner}")
        self._entries[entry.name] = entry

    def get(self, name: str) -> Entry:
        """Return the entry called ``name``, importing its file if need be.

        Raises:
            UsageError: Nobody registers that name; the nearest known one is suggested.
        """
        if name not in self._entries and name in self._files():
            importlib.import_module(f"{self._package}.{name}")
        if name not in self._entries:
            raise unknown_name(self.kind, name, self.names())
        return self._entries[name]

    def names(self) -> list[str]:
        """Every name that `get` accepts, sorted."""
        return sorted(set(self._files()) | set(self._entries))

    def entries(self) -> list[Entry]:
        """Every entry, sorted by name; imports all files."""
        return [self.get(name) for name in self.names()]

    def _files(self) -> list[str]:
        paths = importlib.import_module(self._package).__path__
        return [m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")]


MODELS = Registry("model", "paraformer_bench.models")
EXECUTIONS = Registry("execution", "paraformer_bench.executions")
RUNTIMES = Registry("runtime", "paraformer_bench.runtimes")


def register_model(
    name: str, *, branched: bool = False, chained: bool | None = None, cost: Cost | None = None
) -> Callable[[Factory], Factory]:
    """Register ``build(spec: ModelSpec) -> nn.Module`` under ``name``.

    The module's forward takes images of shape (batch, channels, height, width).

    Args:
        name: Lower-case letters, digits and underscores.
        branched: The module has parallel branches that executions other than ``loop`` can find.
        chained: ``branch_depth`` means something to it, so that a suite may vary it; by default
            that is so for models with branches.
        cost: Span, work and parameters as functions of depth, shown by ``list models``.

    Raises:
        UsageError: A formula of ``cost`` cannot be evaluated.
    """
    chained = branched if chained is None else chained
    cost = cost.check() if cost else None
    return _decorator(MODELS, name, DEVICE_TYPES, branched, chained, cost)


def register_execution(
    name: str,
    *,
    devices: tuple[str, ...] = DEVICE_TYPES,
    needs_branches: bool = True,
    spread: str = "",
    loads: tuple[str, ...] = (),
    warm: Warm | None = None,
) -> Callable[[Factory], Factory]:
    """Register ``prepare(model, example) -> callable``, one way of running branches.

    One that can use several devices says by ``spread`` how, and gets a third argument where it
    shall use more than one. With ``"ranks"`` every device has a process of its own, all of which
    build the same model, call ``prepare(model, example, ranks)`` with their own `parts.Ranks`, and
    later what it returned, with the same input. With ``"threads"`` it is one process, which calls
    ``prepare(model, example, devices)`` with all of them, the model's own first.

    Args:
        name: Lower-case letters, digits and underscores.
        devices: Device types it can run on; elsewhere its cases are skipped with that reason.
        needs_branches: It makes no sense for a model without branches.
        spread: ``"ranks"`` or ``"threads"`` if it can use several devices.
        loads: Modules that it needs on several devices and that take long to import: they are
            imported before its first such case, and its memory is not charged for them.
        warm: Where its calls use other CUDA streams than the current one, or threads:
            ``warm(product, branches)`` calls ``product`` on each that a net with as many branches
            side by side uses. cuBLAS then makes the workspaces that it keeps for them before
            memory is looked at, and not in whichever case comes first.
    """
    if spread:
        checks.choice(spread, "spread", SPREADS)
    return _decorator(
        EXECUTIONS, name, devices, needs_branches, spread=spread, loads=loads, warm=warm
    )


def register_runtime(
    name: str, *, devices: tuple[str, ...] = DEVICE_TYPES, warm: Warm | None = None
) -> Callable[[Factory], Factory]:
    """Register ``wrap(callable, example) -> callable``, one way of launching a callable.

    Args:
        name: Lower-case letters, digits and underscores.
        devices: Device types it can run on; elsewhere its cases are skipped with that reason.
        warm: As for an execution, for the streams and threads of the runtime's own.
    """
    return _decorator(RUNTIMES, name, devices, False, warm=warm)


def _decorator(
    registry: Registry,
    name: str,
    devices: tuple[str, ...],
    branches: bool,
    chains: bool = False,
    cost: Cost | None = None,
    spread: str = "",
    loads: tuple[str, ...] = (),
    warm: Warm | None = None,
) -> Callable[[Factory], Factory]:
    if not isinstance(name, str):
        raise UsageError(
            f'a {registry.kind} needs a name: write @register_{registry.kind}("its_name")'
        )
    for device in devices:
        checks.choice(device, "device type", DEVICE_TYPES)

    def register(factory: Factory) -> Factory:
        source = source_of(factory.__module__)
        held = (factory, devices, branches, source, chains, cost, spread, loads, warm)
        registry.add(Entry(name, registry.kind, *held))
        return factory

    return register
