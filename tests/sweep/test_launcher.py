"""Which launcher a command gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paraformer_bench.clusters import ray
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import Node, RunInfo
from paraformer_bench.sweep.plan import Settings
from paraformer_bench.sweep.progress import describe_nodes
from paraformer_bench.sweep.resume import Resumed
from paraformer_bench.sweep.setup import Launcher
from paraformer_bench.sweep.store import Store


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str | None]]:
    """Where commands connect to: every cluster has one node, ``new``."""
    asked: list[tuple[str | None, str | None]] = []

    @contextmanager
    def connect(address: str | None, text: str | None, say: object) -> Iterator[Any]:
        asked.append((address, text))
        yield SimpleNamespace(nodes=[Node("new", "h2")])

    monkeypatch.setattr(ray, "connect", connect)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


def noted(settings: Settings, info: RunInfo | None, folder: Path) -> RunInfo:
    """Connect for a command; return what is noted of it in a run."""
    launcher = Launcher.of(settings, Resumed(info, folder) if info else None)
    with launcher.connected(print) as cluster, Store.create(folder, info or RunInfo()) as store:
        launcher.note(store, cluster)
        return store.info


def test_this_machine_unless_asked(
    connected: list, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    for name, settings in (("a", Settings()), ("b", Settings(launcher="local"))):
        assert noted(settings, None, tmp_path / name) == RunInfo(launcher="local")
    assert connected == []


def test_cluster_that_is_named(
    connected: list, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert noted(Settings(launcher="ray"), None, tmp_path / "a") == RunInfo(
        launcher="ray", machines=[Node("new", "h2")]
    )
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    for address in (None, "elsewhere"):
        with Launcher.of(Settings(launcher="ray", ray_address=address), None).connected(print):
            pass
    assert connected == [(None, None), ("somewhere", None), ("elsewhere", None)]


def test_resumed_run_goes_on_where_it_was(connected: list, tmp_path: Path) -> None:
    there = {"launcher": "ray", "ray_address": "a:1", "ray_nodes": "H100"}
    lost, new = Node("lost", "h1"), Node("new", "h2")
    before = RunInfo(**there, machines=[lost, Node("new", "h2", devices=8)])
    assert noted(Settings(), before, tmp_path / "a") == RunInfo(**there, machines=[lost, new])
    with Launcher.of(Settings(ray_address="b:2"), Resumed(before, tmp_path)).connected(print):
        pass
    assert connected == [("a:1", "H100"), ("b:2", "H100")]
    here = noted(Settings(launcher="local"), before, tmp_path / "b")
    assert (here.launcher, here.machines) == ("local", [lost, new]), "what is known stays"


def test_run_of_this_machine_stays_here(connected: list, tmp_path: Path) -> None:
    run = Resumed(RunInfo(launcher="local"), tmp_path)
    assert Launcher.of(Settings(), run) == Launcher()
    for asked in ({"ray_address": "a:1"}, {"ray_nodes": "x"}):
        option = next(iter(asked)).replace("_", "-")
        with pytest.raises(UsageError, match=f"--{option} is for --launcher ray"):
            Launcher.of(Settings(**asked), run)


def test_nodes_in_words() -> None:
    assert describe_nodes([]) == []
    two = Node("1", "b", devices=8, niceness=0)
    lines = describe_nodes([two, two, Node("2", "a", devices=1, niceness=15)])
    assert lines[0] == "  blocks at once: 17, on a (1), b (16)"
    assert lines[1].startswith("  warning: workers on a stand back behind all other programs")
