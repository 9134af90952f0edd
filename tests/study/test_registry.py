from __future__ import annotations

import sys
from pathlib import Path

import pytest

from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.registry import (
    EXECUTIONS,
    MODELS,
    RANKS,
    RUNTIMES,
    THREADS,
    Entry,
    Registry,
    _decorator,
    register_execution,
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry over a package with the files alpha, beta and a shared part."""
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_parts.py").touch()
    for name in ("alpha", "beta"):
        (package / f"{name}.py").write_text(
            "from paraformer_bench.study.registry import Entry\n"
            "import builtins\n"
            "def build(spec):\n"
            f'    """{name.title()} in short.\n\n    More words.\n    """\n'
            f"builtins.shelf.add(Entry('{name}', 'model', build, ('cpu',), False, __name__))\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("shelf")]:
        monkeypatch.delitem(sys.modules, name)
    registry = Registry("model", "shelf")
    monkeypatch.setattr("builtins.shelf", registry, raising=False)
    yield registry
    for name in [name for name in sys.modules if name.startswith("shelf")]:
        del sys.modules[name]


def entry(name: str, source: str = "plugin") -> Entry:
    return Entry(name, "model", print, ("cpu",), False, source)


def test_names_are_listed_without_importing(registry: Registry) -> None:
    registry.add(entry("zeta"))
    assert registry.names() == ["alpha", "beta", "zeta"]
    assert "shelf.alpha" not in sys.modules


def test_only_the_file_asked_for_is_imported(registry: Registry) -> None:
    found = registry.get("alpha")
    assert (found.name, found.summary, found.source) == ("alpha", "Alpha in short.", "shelf.alpha")
    assert "shelf.beta" not in sys.modules
    assert registry.get("alpha") is found
    assert [each.name for each in registry.entries()] == ["alpha", "beta"]


def test_unknown_name_is_answered_with_the_nearest(registry: Registry) -> None:
    registry.add(entry("zeta"))
    with pytest.raises(UsageError, match=r"unknown model 'zta': did you mean 'zeta'\? known: al"):
        registry.get("zta")
    with pytest.raises(UsageError, match="unknown model '_parts'"):
        registry.get("_parts")


@pytest.mark.parametrize("name", ["alpha", "zeta"])
def test_taken_name_is_refused(registry: Registry, name: str) -> None:
    """Also that of a file nobody has imported yet."""
    registry.add(entry("zeta"))
    owner = "plugin" if name == "zeta" else "shelf.alpha"
    with pytest.raises(UsageError, match=f"model '{name}' is already registered by {owner}"):
        registry.add(entry(name, "another"))
    assert registry.get(name).source == owner


@pytest.mark.parametrize(
    "name", ["", "Net", "1net", "_net", "my-net", "a b", "é", "a" * 65, "a\n"]
)
def test_malformed_name_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(UsageError, match="must be lower-case letters, digits and underscores"):
        registry.add(entry(name))


def test_summary_of_what_has_no_docstring(registry: Registry) -> None:
    bare = Entry("bare", "model", lambda spec: None, ("cpu",), False, "plugin")
    assert bare.summary == ""


def test_decorator_keeps_the_function_and_notes_what_it_is_told(registry: Registry) -> None:
    def build(spec: object) -> None:
        """A net."""

    assert _decorator(registry, "net", ("cuda",), True)(build) is build
    found = registry.get("net")
    assert found.factory is build
    assert (found.devices, found.branches, found.source) == (("cuda",), True, __name__)


def test_decorator_without_a_name_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match=r'a model needs a name: write @register_model\("its_na'):
        _decorator(registry, print, ("cpu",), False)  # type: ignore[arg-type]


@pytest.mark.parametrize("devices", [("tpu",), "cpu", ("cpu", "cuda:0")])
def test_unknown_device_type_is_refused(registry: Registry, devices: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="unknown device type"):
        _decorator(registry, "net", devices, False)
    assert "net" not in registry.names()


def test_an_execution_says_how_it_uses_several_devices() -> None:
    assert EXECUTIONS.get("sharded").spread == RANKS
    assert EXECUTIONS.get("parallel_apply").spread == THREADS
    assert EXECUTIONS.get("stacked").spread == ""
    with pytest.raises(UsageError, match="unknown spread 'rank': did you mean 'ranks'"):
        register_execution("new", spread="rank")


def test_own_names() -> None:
    assert {"serial", "paraformer", "paraformer_code"} <= set(MODELS.names())
    assert {"loop", "stacked"} <= set(EXECUTIONS.names())
    assert {"eager", "graph"} <= set(RUNTIMES.names())
