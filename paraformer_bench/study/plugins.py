"""Loading what others register: plugin files and installed packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType

from paraformer_bench.study.errors import UsageError

ENTRY_POINTS = "paraformer_bench.plugins"
_FILE_MODULE = "paraformer_bench_plugin_"


def load_plugins(files: Iterable[Path]) -> None:
    """Import installed plugins (entry points), then each plugin file.

    Raises:
        UsageError: A plugin is missing, does not import, or registers a taken name.
    """
    for point in entry_points(group=ENTRY_POINTS):
        _guard(f"installed plugin {point.name!r}", point.load)
    for number, path in enumerate(files):
        if not path.is_file():
            raise UsageError(f"plugin {path} does not exist or is no file")
        _guard(f"plugin {path}", lambda path=path, number=number: _import_file(path, number))


def installed_plugins() -> dict[str, str]:
    """Return name and version of every installed package that provides plugins; load none."""
    providers = [point.dist for point in entry_points(group=ENTRY_POINTS)]
    return {dist.name: dist.version for dist in providers if dist}


def source_of(module: str) -> str:
    """Say what people know a module by: the name of its plugin file, else its own."""
    path = getattr(sys.modules.get(module), "__file__", None)
    return Path(path).name if path and module.startswith(_FILE_MODULE) else module


def _import_file(path: Path, number: int) -> None:
    name = f"{_FILE_MODULE}{number}_{path.stem}"
    if path.suffix != ".py":
        raise UsageError("is no Python file: its name must end in .py")
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that dataclasses and pickles defined there find it
    loader.exec_module(module)


class _SourceLoader(SourceFileLoader):
    """Runs the file as it is now: reads no compiled copy beside it and leaves none there."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _guard(what: str, load: object) -> None:
    """Run ``load`` and turn whatever it raises into one line."""
    assert callable(load)
    try:
        load()
    except SyntaxError as error:
        where = "" if error.lineno is None else f" in line {error.lineno}"  # of a null byte
        raise UsageError(f"{what} has a syntax error{where}: {error.msg}") from None
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None
    except (Exception, SystemExit) as error:
        first = next(iter(str(error).splitlines()), "")
        raise UsageError(f"{what} failed: {type(error).__name__}: {first}") from None
