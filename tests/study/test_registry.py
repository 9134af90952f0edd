from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.registry import (
    EXECUTIONS,
    MODELS,
    RANKS,
    REFERENCE_AXES,
    RUNTIMES,
    THREADS,
    ExecutionTraits,
    ModelTraits,
    Registered,
    Registry,
    register_execution,
    register_model,
)

Models = Registry[ModelTraits]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    """A registry over a package with the files alpha, beta and a shared part."""
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_parts.py").touch()
    for name in ("alpha", "beta"):
        (package / f"{name}.py").write_text(
            "import builtins\n"
            f"@builtins.shelf.register('{name}', devices=('cpu',))\n"
            "def build(spec):\n"
            f'    """{name.title()} in short.\n\n    More words.\n    """\n'
        )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("shelf")]:
        monkeypatch.delitem(sys.modules, name)
    registry = Registry("model", ModelTraits, "shelf")
    monkeypatch.setattr("builtins.shelf", registry, raising=False)
    yield registry
    for name in [name for name in sys.modules if name.startswith("shelf")]:
        del sys.modules[name]


def entry(name: str, source: str = "plugin") -> Registered[ModelTraits]:
    return Registered(ModelTraits(name=name, source=source), print)


def test_names_are_listed_without_importing(registry: Models) -> None:
    registry.add(entry("zeta"))
    assert registry.names() == ["alpha", "beta", "zeta"]
    assert "shelf.alpha" not in sys.modules


def test_only_the_file_asked_for_is_imported(registry: Models) -> None:
    alpha = registry.get("alpha")
    told = alpha.traits
    assert (told.name, told.summary, told.source) == ("alpha", "Alpha in short.", "shelf.alpha")
    assert "shelf.beta" not in sys.modules
    assert registry.get("alpha") is alpha
    assert list(registry.traits()) == ["alpha", "beta"]


def test_unknown_name_is_answered_with_the_nearest(registry: Models) -> None:
    registry.add(entry("zeta"))
    with pytest.raises(UsageError, match=r"unknown model 'zta': did you mean 'zeta'\? known: al"):
        registry.get("zta")
    with pytest.raises(UsageError, match="unknown model '_parts'"):
        registry.get("_parts")


@pytest.mark.parametrize("name", ["alpha", "zeta"])
def test_taken_name_is_refused(registry: Models, name: str) -> None:
    """Also that of a file nobody has imported yet."""
    registry.add(entry("zeta"))
    owner = "plugin" if name == "zeta" else "shelf.alpha"
    with pytest.raises(UsageError, match=f"model '{name}' is already registered by {owner}"):
        registry.add(entry(name, "another"))
    assert registry.get(name).traits.source == owner


@pytest.mark.parametrize(
    "name", ["", "Net", "1net", "_net", "my-net", "a b", "é", "a" * 65, "a\n"]
)
def test_malformed_name_is_refused(registry: Models, name: str) -> None:
    with pytest.raises(UsageError, match="must be lower-case letters, digits and underscores"):
        registry.add(entry(name))


def test_summary_of_what_has_no_docstring(registry: Models) -> None:
    registry.register("bare")(lambda spec: None)
    assert registry.get("bare").traits.summary == ""


def test_decorator_keeps_the_function_and_notes_what_it_is_told(
    registry: Models,
) -> None:
    def build(spec: object) -> None:
        """A net."""

    assert registry.register("net", devices=("cuda",), branched=True)(build) is build
    net = registry.get("net")
    assert net.factory is build
    told = net.traits
    assert (told.devices, told.branched, told.source) == (("cuda",), True, __name__)


def test_decorator_without_a_name_is_refused(registry: Models) -> None:
    with pytest.raises(UsageError, match=r'a model needs a name: write @register_model\("its_na'):
        registry.register(print)  # type: ignore[arg-type]


@pytest.mark.parametrize("devices", [("tpu",), "cpu", ("cpu", "cuda:0")])
def test_unknown_device_type_is_refused(registry: Models, devices: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="unknown device type"):
        registry.register("net", devices=devices)
    assert "net" not in registry.names()


def test_an_execution_says_how_it_uses_several_devices() -> None:
    assert EXECUTIONS.get("sharded").traits.spread == RANKS
    assert EXECUTIONS.get("parallel_apply").traits.spread == THREADS
    assert EXECUTIONS.get("stacked").traits.spread == ""
    with pytest.raises(UsageError, match="unknown spread 'rank': did you mean 'ranks'"):
        register_execution("new", spread="rank")
    with pytest.raises(TypeError, match="sprad"):
        register_execution("new", sprad="ranks")


def test_every_trait_of_an_execution_can_be_told_when_it_is_registered() -> None:
    told = ExecutionTraits(
        name="new", devices=("cuda",), needs_branches=False, spread=RANKS, loads=("json",)
    )
    assert msgspec.json.decode(msgspec.json.encode(told), type=ExecutionTraits) == told


@pytest.mark.parametrize(
    ("given", "axes"),
    [
        ({}, REFERENCE_AXES[:-1]),
        ({"branched": True}, REFERENCE_AXES),
        ({"branched": True, "chained": False}, REFERENCE_AXES[:-1]),
        ({"chained": True}, REFERENCE_AXES),
        ({"branched": True, "axes": ("width", "experts")}, ("width", "experts")),
    ],
)
def test_a_model_has_the_axes_of_the_reference_nets_or_its_own(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], axes: tuple[str, ...]
) -> None:
    monkeypatch.setattr(MODELS, "_registered", {})
    register_model("net", **given)(print)
    told = MODELS.get("net").traits
    assert told.axes == axes
    assert told.chained == ("branch_depth" in axes)


@pytest.mark.parametrize("axes", [("Width",), ("two words",), (3,), ("width", "width")])
def test_axes_that_cannot_be_are_refused(axes: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match=r"^(axis .* must be a name|an axis is named twice)"):
        register_model("net", axes=axes)


def test_own_names() -> None:
    assert {"serial", "paraformer", "paraformer_code"} <= set(MODELS.names())
    assert {"loop", "stacked"} <= set(EXECUTIONS.names())
    assert {"eager", "graph"} <= set(RUNTIMES.names())
