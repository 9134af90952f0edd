from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from paraformer_bench.study import plugins
from paraformer_bench.study.errors import UsageError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a plugin file; what it leaves in sys.modules is taken out again."""
    before = set(sys.modules)

    def write(text: str, name: str = "plugin.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("paraformer_bench_plugin_"):
            del sys.modules[name]


def test_files_are_loaded_in_their_order(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(f"print({n})", f"p{n}.py") for n in (2, 1, 3)]
    plugins.load_plugins(paths)
    assert capsys.readouterr().out == "2\n1\n3\n"


def test_two_files_of_one_name_are_two_modules(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("paraformer_bench_plugin_")]:
        monkeypatch.delitem(sys.modules, name)  # other tests load plugins too
    code = "import sys\nsys.modules[__name__].seen = True\nassert not hasattr(sys, 'never')"
    plugins.load_plugins([write(code, "a/plugin.py"), write(code, "b/plugin.py")])
    found = [name for name in sys.modules if name.startswith("paraformer_bench_plugin_")]
    assert len(found) == 2


def test_a_file_is_run_as_it_is_now_and_leaves_nothing_beside_it(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = write("print(1)")
    plugins.load_plugins([path])
    stamp = path.stat().st_mtime_ns
    write("print(2)")  # as long as before, and as old: a compiled copy would be believed
    os.utime(path, ns=(stamp, stamp))
    plugins.load_plugins([path])
    assert capsys.readouterr().out == "1\n2\n"
    assert list(path.parent.iterdir()) == [path]


def test_dataclasses_work_in_a_plugin(write: Write) -> None:
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int = 1\nassert A().x == 1\n"
    )
    plugins.load_plugins([write(code)])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = (", "has a syntax error in line 1: "),
        ("raise KeyError('k')", "failed: KeyError: 'k'"),
        ("import sys; sys.exit('no')", "failed: SystemExit: no"),
        ("raise ValueError", "failed: ValueError: $"),
        ("raise ValueError('one\\ntwo')", "failed: ValueError: one$"),
        ("x = '\0'", "has a syntax error|failed: "),
    ],
)
def test_broken_file_is_one_line(write: Write, code: str, message: str) -> None:
    path = write(code)
    with pytest.raises(UsageError, match=message) as caught:
        plugins.load_plugins([path])
    assert str(caught.value).startswith(f"plugin {path} ")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.py", tmp_path):
        with pytest.raises(UsageError, match="does not exist or is no file"):
            plugins.load_plugins([path])


def test_ctrl_c_is_not_an_error_of_the_plugin(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        plugins.load_plugins([write("raise KeyboardInterrupt")])


def test_installed_plugins_come_first(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def entry_points(group: str) -> list[SimpleNamespace]:
        assert group == "paraformer_bench.plugins"
        return [SimpleNamespace(name="theirs", load=lambda: print("installed"))]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    plugins.load_plugins([write("print('file')")])
    assert capsys.readouterr().out == "installed\nfile\n"


def test_broken_installed_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise ImportError("no libfast.so")

    point = SimpleNamespace(name="theirs", load=load)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    message = "^installed plugin 'theirs' failed: ImportError: no libfast.so$"
    with pytest.raises(UsageError, match=message):
        plugins.load_plugins([])


def test_packages_that_provide_plugins_are_named_without_loading_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = SimpleNamespace(name="theirs", version="1.2")
    points = [SimpleNamespace(name=name, dist=theirs) for name in ("net", "way")]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    assert plugins.installed_plugins() == {"theirs": "1.2"}


def test_what_a_file_registers_is_known_by_its_name(write: Write) -> None:
    plugins.load_plugins([write("import sys; sys.modules[__name__].seen = __name__", "own.py")])
    [module] = [name for name in sys.modules if name == "paraformer_bench_plugin_0_own"]
    assert plugins.source_of(module) == "own.py"
    assert plugins.source_of("json.decoder") == "json.decoder"
    assert plugins.source_of("paraformer_bench_plugin_9_gone") == "paraformer_bench_plugin_9_gone"
