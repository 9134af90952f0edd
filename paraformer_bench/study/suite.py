"""Suites: from a TOML file over axes to cases."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from paraformer_bench.study import checks, wire
from paraformer_bench.study.case import (
    LIMITS,
    MOST,
    Case,
    Fields,
    Method,
    Regime,
    default_heads,
    image_for_tokens,
    in_order,
)
from paraformer_bench.study.errors import UsageError, unknown_name
from paraformer_bench.study.job import LEAST_ENERGY_SECONDS, Protocol
from paraformer_bench.study.registry import ModelTraits
from paraformer_bench.study.survey import Survey

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_CASES = 100_000
_DEFAULT_IMAGE = 224
_NAMES = ("models", "executions", "runtimes", "dtype", "mode", "scope")
_AXES = {"width": (192,), "patch": (16,), "branch_depth": (1,)}
"""Axes of the reference nets that have a value where a grid says nothing of them."""
_OTHER_AXES = ("tokens", "image", "heads")
_PACKAGE = Path(__file__).resolve().parents[1]


class Claim(Struct, frozen=True):
    """What is tested: growth beyond ``margin`` (0.10 is 10%) at one-sided ``confidence``."""

    margin: float = 0.10
    confidence: float = 0.95


class Grid(Struct, frozen=True, kw_only=True):
    """Axes whose product is a set of cases.

    Attributes:
        axes: Values of the models' own axes by name. Where the reference nets' are not given they
            are: width 192, image 224, patch 16, one head for every 64 of the width, branch depth
            1. ``tokens`` stands instead of ``image``.
        devices: For executions that can use several; empty means 1.
    """

    models: tuple[str, ...]
    depth: tuple[int, ...]
    executions: tuple[str, ...] = ("loop",)
    runtimes: tuple[str, ...] = ("eager",)
    batch: tuple[int, ...] = (1,)
    dtype: tuple[str, ...] = ("float32",)
    mode: tuple[str, ...] = ("inference",)
    scope: tuple[str, ...] = ("whole",)
    devices: tuple[int, ...] = ()
    axes: tuple[tuple[str, tuple[int, ...]], ...] = tuple(_AXES.items())

    def table(self) -> dict[str, list[Any]]:
        """Return the grid in the layout of its file."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "axes"}
        return {
            name: list(values) for name, values in (fields | dict(self.axes)).items() if values
        }


class Suite(Struct, frozen=True):
    """A named study: the claim, the protocol and the grids."""

    name: str
    grids: tuple[Grid, ...]
    claim: Claim = field(default_factory=Claim)
    protocol: Protocol = field(default_factory=Protocol)

    def table(self) -> Fields:
        """Return the suite in the layout of its file."""
        protocol = wire.plain(self.protocol)
        if not self.protocol.energy_seconds:  # the same study as before there were windows
            del protocol["energy_seconds"]
        return {
            "name": self.name,
            "claim": wire.plain(self.claim),
            "protocol": protocol,
            "grid": [grid.table() for grid in self.grids],
        }


def suite_folders() -> list[Path]:
    """Where suites are looked up by name: beside a checkout's package, or inside a wheel's."""
    return [_PACKAGE.parent / "suites", _PACKAGE / "suites"]


def known_suites() -> dict[str, Path]:
    """Every suite that can be asked for by name."""
    found = [path for folder in suite_folders() for path in sorted(folder.glob("*.toml"))]
    return {path.stem: path for path in reversed(found)}


def load_suite(name_or_file: str) -> Suite:
    """Read a suite by name or from a ``.toml`` file.

    Raises:
        UsageError: No such suite, broken TOML, unknown keys, or values out of range.
    """
    path = Path(name_or_file)
    if path.suffix != ".toml":
        suites = known_suites()
        if name_or_file not in suites:
            raise unknown_name("suite", name_or_file, suites)
        path = suites[name_or_file]
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read suite {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # broken TOML, or text that is not UTF-8
        raise UsageError(f"suite {path} is not valid TOML: {error}") from None
    try:
        return parse_suite(table, path.stem)
    except UsageError as error:
        raise UsageError(f"suite {path}: {error}") from None


def parse_suite(table: Mapping[str, Any], default_name: str) -> Suite:
    """Build a suite from the contents of its file (or of ``run.json``).

    Raises:
        UsageError: Unknown keys, wrong types or values out of range.
    """
    checks.keys(table, "the suite", ("name", "claim", "protocol", "grid"))
    grids = table.get("grid", [])
    if not isinstance(grids, Sequence) or not grids or isinstance(grids, str):
        raise UsageError("a suite needs at least one [[grid]]")
    name = table.get("name", default_name)
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"name must be text, not {name!r}")
    return Suite(
        name=name,
        grids=tuple(_parse_grid(grid) for grid in grids),
        claim=_parse_claim(_table(table, "claim")),
        protocol=parse_protocol(_table(table, "protocol")),
    )


def parse_protocol(table: Mapping[str, Any]) -> Protocol:
    """Build a protocol, defaults for what is not given.

    Raises:
        UsageError: Unknown keys or values out of range.
    """
    checks.keys(table, "[protocol]", Protocol.__struct_fields__)
    given: Fields = {}
    for key, value in table.items():
        if key in ("blocks", "rounds"):
            given[key] = checks.whole(value, key, 1, 10_000)
        elif key == "target_relative_error":
            given[key] = checks.number(value, key, 0, 1)
        elif key == "energy_seconds":
            given[key] = _energy_seconds(value)
        else:
            given[key] = checks.number(value, key, 0, 1e6)
    protocol = Protocol(**given)
    if protocol.energy_seconds > protocol.timeout_seconds / 2:
        raise UsageError(
            f"energy_seconds must be at most half of timeout_seconds "
            f"({protocol.timeout_seconds / 2:g}), not {protocol.energy_seconds:g}"
        )
    return protocol


def override(suite: Suite, axes: Mapping[str, Sequence[Any]]) -> Suite:
    """Return ``suite`` with the values of ``axes`` in place of every grid's own.

    Raises:
        UsageError: A value is out of range.
    """
    if not axes:
        return suite
    grids = dict.fromkeys(_parse_grid(grid.table() | dict(axes)) for grid in suite.grids)
    return replace(suite, grids=tuple(grids))


def expand(suite: Suite, survey: Survey, device: str) -> list[Case]:
    """Return every case of the suite on ``device``, checked and without repeats.

    A model without branches is paired with executions that need none. ``branch_depth`` applies
    to the models that take one, ``devices`` to the executions; the others have 1.

    Raises:
        UsageError: An unknown name, a shape that cannot be, or nothing to measure.
    """
    cases: dict[Case, None] = {}
    for grid in suite.grids:
        for axis, known in (
            ("models", survey.models),
            ("executions", survey.executions),
            ("runtimes", survey.runtimes),
        ):
            for name in getattr(grid, axis):
                if name not in known:
                    raise unknown_name(axis.removesuffix("s"), name, known)
        _refuse_unknown_axes(grid, survey)
        for case in _product(grid, survey, device):
            cases[case.check()] = None
            if len(cases) > MOST_CASES:
                raise UsageError(f"the suite has more than {MOST_CASES} cases")
    if not cases:
        raise UsageError(
            "nothing to measure: models without branches run under execution loop only"
        )
    return list(cases)


def skip_reason(case: Case, survey: Survey) -> str | None:
    """Say why the case cannot run on its device, or None if it can."""
    kind = case.device.partition(":")[0]
    for what, item in (
        ("execution", survey.executions[case.execution]),
        ("runtime", survey.runtimes[case.runtime]),
    ):
        if kind not in item.devices:
            return f"{what} {item.name} needs {' or '.join(item.devices)}, this is {kind}"
    if case.dtype == "tf32" and kind != "cuda":
        return f"dtype tf32 needs cuda, this is {kind}"
    return _too_many_devices(case, survey) if case.devices > 1 else None


def _too_many_devices(case: Case, survey: Survey) -> str | None:
    """Say why the case cannot use several devices."""
    if case.runtime != "eager":
        return f"runtime {case.runtime} is measured on one device alone, not on {case.devices}"
    if case.mode == "train":
        return f"training is measured on one device alone, not on {case.devices}"
    if case.device == "cpu":
        return None
    if case.device != "cuda:0":
        return f"{case.devices} devices begin at cuda:0, this is {case.device}"
    if len(survey.gpus) < case.devices:
        return f"{case.devices} devices are asked for, there are {len(survey.gpus)}"
    return None


def _refuse_unknown_axes(grid: Grid, survey: Survey) -> None:
    """Refuse an axis that no model of the grid declares."""
    known = {axis for name in grid.models for axis in survey.models[name].axes}
    known |= {"tokens"} if "image" in known else set()
    for axis, _ in grid.axes:
        if axis not in known and axis not in _AXES:
            raise _unknown_key(axis, known)


def _product(grid: Grid, survey: Survey, device: str) -> Iterator[Case]:
    axes = (grid.models, grid.executions, grid.runtimes, grid.dtype, grid.mode, grid.scope)
    for model, execution, runtime, dtype, mode, scope in product(*axes):
        item, how = survey.models[model], survey.executions[execution]
        if how.needs_branches and not item.branched:
            continue
        counts = (grid.devices or (1,)) if how.spread else (1,)
        for shape in _shapes(grid, item):
            for batch, devices, depth in product(grid.batch, counts, grid.depth):
                method = Method(model, execution, runtime, devices)
                regime = Regime(in_order(shape), batch, dtype, device, mode, scope)
                yield Case(method, regime, depth)


def _shapes(grid: Grid, model: ModelTraits) -> Iterator[dict[str, int]]:
    """Return every combination of the values of the axes that the model has."""
    given = dict(grid.axes)
    values: dict[str, tuple[Any, ...]] = {}
    for axis in model.axes:
        if axis in given:
            values[axis] = given[axis]
        elif axis not in _AXES and axis not in _OTHER_AXES:
            raise UsageError(f"a grid must give values of the axis {axis} of model {model.name}")
    if "image" in model.axes:
        values["image"] = given.get("image", (_DEFAULT_IMAGE,))
        if "tokens" in given:
            values["image"] = given["tokens"]
    for combination in product(*values.values()):
        shape = dict(zip(values, combination, strict=True))
        shape.setdefault("branch_depth", 1)
        if "image" in shape and "tokens" in given:
            shape["image"] = image_for_tokens(shape["image"], shape["patch"])
        if "heads" in model.axes and "heads" not in shape:
            shape["heads"] = default_heads(shape["width"])
        yield shape


def _parse_grid(table: object) -> Grid:
    if not isinstance(table, Mapping):
        raise UsageError(f"[[grid]] must be a table, not {table!r}")
    for needed in ("models", "depth"):
        if needed not in table:
            raise UsageError(f"[[grid]] needs {needed}")
    if "tokens" in table and "image" in table:
        raise UsageError("[[grid]] takes tokens or image, not both")
    if "axes" in table:
        raise _unknown_key("axes")
    values = {key: _axis(key, value) for key, value in table.items()}
    own = {key: values.pop(key) for key in table if key not in Grid.__struct_fields__}
    return Grid(**values, axes=tuple((_AXES | own).items()))


def _unknown_key(key: str, others: Iterable[str] = ()) -> UsageError:
    names = [name for name in Grid.__struct_fields__ if name != "axes"]
    return unknown_name("key in [[grid]]", key, {*names, *_AXES, *_OTHER_AXES, *others})


def _axis(key: str, value: object) -> tuple[Any, ...]:
    values = value if isinstance(value, (list, tuple)) else [value]
    known = key in LIMITS or key in _NAMES
    if not known and not all(isinstance(value, int) for value in values):
        raise _unknown_key(key)  # an axis of some model has numbers
    if not values:
        raise UsageError(f"{key} is empty: give at least one value")
    if key in _NAMES:
        for name in values:
            if not isinstance(name, str):
                raise UsageError(f"{key} must be names, not {name!r}")
        return tuple(dict.fromkeys(values))
    return tuple(dict.fromkeys(checks.whole(v, key, 1, LIMITS.get(key, MOST)) for v in values))


def _parse_claim(table: Mapping[str, Any]) -> Claim:
    checks.keys(table, "[claim]", Claim.__struct_fields__)
    usual = Claim()
    return Claim(
        margin=checks.number(table.get("margin", usual.margin), "margin", 0, 100),
        confidence=checks.number(table.get("confidence", usual.confidence), "confidence", 0.5, 1),
    )


def _energy_seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UsageError(f"energy_seconds must be a number, not {value!r}")
    if value == 0:
        return 0.0
    if not value >= LEAST_ENERGY_SECONDS:  # NaN too
        raise UsageError(
            f"energy_seconds must be 0 (no energy window) or at least {LEAST_ENERGY_SECONDS:g}, "
            f"not {value}"
        )
    return checks.number(value, "energy_seconds", 0, 1e6)


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"{key} must be a table, not {value!r}")
    return value
