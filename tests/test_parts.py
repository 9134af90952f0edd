"""What plugins build from is public, and is not loaded before somebody asks for it."""

from __future__ import annotations

from pathlib import Path

from paraformer_bench import parts


def test_every_name_is_there_and_says_what_it_is() -> None:
    for name in parts.__all__:
        assert name in ("Forward", "Make") or getattr(parts, name).__doc__  # aliases cannot say


def test_package_by_itself_does_not_load_them(cli, tmp_path: Path) -> None:
    code = "import sys, paraformer_bench; print(*sys.modules)"
    result = cli.python("-c", code, cwd=tmp_path)
    loaded = set(result.stdout.split())
    assert "paraformer_bench.study.registry" in loaded, result.stderr
    assert loaded.isdisjoint({"torch", "paraformer_bench.parts"})
