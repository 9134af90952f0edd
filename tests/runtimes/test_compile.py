"""The runtime `compile`: its own bookkeeping on a stand-in, and the real compiler in a sweep."""

from __future__ import annotations

import gc
import shutil
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from paraformer_bench.runtimes import compile as runtime
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.registry import RUNTIMES

Call = Callable[[Tensor], Tensor]
X = torch.ones(3)


class InvalidCxxCompiler(RuntimeError):
    """Named like what the compiler raises."""


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """A compiler that compiles once for every shape; all it was given."""
    given: list[Call] = []

    def compile_(call: Call, *, backend: Callable[[Any, Any], Any], dynamic: bool) -> Call:
        assert dynamic is False
        given.append(call)
        shapes: set[torch.Size] = set()

        def run(x: Tensor) -> Tensor:
            if x.shape not in shapes:
                shapes.add(x.shape)
                backend(lambda: None, [])
            return call(x)

        return run

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(
        "torch._dynamo.backends.registry.lookup_backend", lambda name: lambda graph, inputs: graph
    )
    return given


@pytest.mark.usefixtures("compiler")
def test_it_is_compiled_before_the_first_timed_call_and_says_how_long_that_took() -> None:
    compiled = RUNTIMES.get("compile").factory(lambda x: 2 * x, X)
    assert compiled.compilations == 1
    assert compiled.compile_seconds > 0
    assert torch.equal(compiled(X), 2 * X)
    assert compiled.compilations == 1


@pytest.mark.usefixtures("compiler")
def test_another_compilation_shows() -> None:
    compiled = runtime.wrap(lambda x: 2 * x, X)
    compiled(torch.ones(4))
    assert compiled.compilations == 2


def test_no_two_cases_share_a_code_object(compiler: list[Call]) -> None:
    for _ in range(3):
        runtime.wrap(lambda x: x, X)
    codes = [call.__code__ for call in compiler]  # type: ignore[attr-defined]
    assert len({id(code) for code in codes}) == 3


@pytest.mark.usefixtures("compiler")
def test_no_number_of_cases_makes_pytorch_go_on_without_the_compiler() -> None:
    runtime.wrap(lambda x: x, X)
    config = torch._dynamo.config
    old = not hasattr(config, "recompile_limit")  # torch 2.6
    limit = "cache_size_limit" if old else "recompile_limit"
    assert getattr(config, limit) > 10_000
    assert getattr(config, f"accumulated_{limit}") > 10_000


@pytest.mark.parametrize("wrapped", ["cause", "inner_exception", "itself"])
def test_without_a_compiler_the_case_is_skipped(
    monkeypatch: pytest.MonkeyPatch, wrapped: str
) -> None:
    def fail(x: Tensor) -> Tensor:
        lacking = InvalidCxxCompiler("No working C++ compiler found\nmore")
        outer = RuntimeError("backend failed")
        if wrapped == "itself":
            raise lacking
        if wrapped == "cause":
            raise outer from lacking
        outer.inner_exception = lacking  # type: ignore[attr-defined]
        raise outer

    monkeypatch.setattr(torch, "compile", lambda call, **options: fail)
    with pytest.raises(Unsupported, match=r"^torch.compile cannot work here: No working C\+\+"):
        runtime.wrap(lambda x: x, X)


@pytest.mark.parametrize(
    "message",
    [
        "Failed to find C compiler. Please specify via CC environment variable.",
        "Event device type CPU does not match recording stream's device type CUDA.",
    ],
)
def test_what_torch_says_in_a_plain_error_is_known_too(
    monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError(f"backend='backend' raised:\n{message}\nmore")

    monkeypatch.setattr(torch, "compile", lambda call, **options: fail)
    with pytest.raises(Unsupported) as raised:
        runtime.wrap(lambda x: x, X)
    assert str(raised.value) == f"torch.compile cannot work here: {message}"


@pytest.mark.parametrize("there", [True, False])
def test_a_compiler_without_python_h_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    failed = subprocess.CalledProcessError(1, ["gcc", "main.c", "-shared"])

    def fail(x: Tensor) -> Tensor:
        raise failed

    if there:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(runtime.sysconfig, "get_path", lambda *_: str(tmp_path))
    monkeypatch.setattr(torch, "compile", lambda call, **options: fail)
    with pytest.raises(subprocess.CalledProcessError if there else Unsupported):
        runtime.wrap(lambda x: x, X)


def test_any_other_failure_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError("bad graph")

    monkeypatch.setattr(torch, "compile", lambda call, **options: fail)
    with pytest.raises(ValueError, match="bad graph"):
        runtime.wrap(lambda x: x, X)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler to compile with")
def test_what_is_let_go_is_freed() -> None:
    """PyTorch keeps every backend that it was ever given."""
    net = torch.nn.Linear(4, 4)
    with torch.inference_mode():
        compiled = runtime.wrap(net, torch.ones(1, 4))
        assert compiled.compilations == 1
    held = weakref.ref(net)
    del net, compiled
    gc.collect()
    assert held() is None


SUITE = """
[protocol]
blocks = 1
rounds = 2
seconds_per_case = 0.05
target_relative_error = 0.5
timeout_seconds = 600

[[grid]]
models = "paraformer"
executions = ["loop", "stacked"]
runtimes = ["eager", "compile"]
depth = 1
width = 64
tokens = 17
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler to compile with")
def test_compiled_cases_pass_the_gate_and_are_timed(cli: Any, files: Any, tmp_path: Path) -> None:
    suite = files.write(tmp_path / "compiled.toml", SUITE)
    result = cli(
        "sweep",
        "--profile",
        "none",
        "--device",
        "cpu",
        "--suite",
        suite,
        "--out",
        "run",
        cwd=tmp_path,
    )
    assert result.returncode == 0, (result.stdout, result.stderr)
    records = files.records(tmp_path / "run")
    assert [record.status for record in records] == ["ok"] * 4
    for record in records:
        assert record.wall_seconds
        assert "recompiled" not in record.flags
        if record.case.runtime == "compile":
            assert record.compile_seconds > 0
            assert record.relative_error > 0
        else:
            assert record.compile_seconds is None
            assert "compiles nothing" in record.null_reasons["compile_seconds"]
