"""Which launcher a command gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paraformer_bench.clusters import ray_session
from paraformer_bench.study.errors import UsageError
from paraformer_bench.sweep.describe import describe_machines
from paraformer_bench.sweep.launcher import open_launcher
from paraformer_bench.sweep.parallel import Parallel
from paraformer_bench.sweep.schedule import OneAfterAnother
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.study import Settings

INFO = {"suite": {}, "device": "cpu", "seed": 0, "plugins": [], "identity": {}}


class Machine:
    def __init__(self, node: str) -> None:
        self.node = node

    def to_json(self, device: str) -> dict[str, Any]:
        return {"node": self.node, "device": device}


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, str | None]]:
    """Where commands connect to: every cluster has one node, ``new``."""
    asked: list[tuple[str | None, str | None]] = []

    @contextmanager
    def connect(address: str | None, part: str | None, say: object) -> Iterator[Any]:
        asked.append((address, part))
        yield SimpleNamespace(
            machines=[Machine("new")],
            device="cpu",
            launch=None,
            launch_profiler=None,
            survey=None,
        )

    monkeypatch.setattr(ray_session, "connect", connect)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return asked


def write_run(folder: Path, **more: Any) -> Path:
    with Store.create(folder, INFO | more):
        return folder


def test_this_machine_unless_asked(connected: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    for settings in (Settings(), Settings(launcher="local")):
        with open_launcher(settings, print) as launcher:
            assert isinstance(launcher.schedule, OneAfterAnother)
            assert launcher.survey is None
            assert launcher.facts() == {"launcher": "local"}
    assert connected == []


def test_cluster_that_is_named(connected: list, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_launcher(Settings(launcher="ray"), print) as launcher:
        assert isinstance(launcher.schedule, Parallel)
        assert launcher.facts() == {
            "launcher": "ray",
            "ray_address": None,
            "ray_nodes": None,
            "machines": [{"node": "new", "device": "cpu"}],
        }
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    for address in (None, "elsewhere"):
        with open_launcher(Settings(launcher="ray", ray_address=address), print):
            pass
    assert connected == [(None, None), ("somewhere", None), ("elsewhere", None)]


def test_resumed_run_goes_on_where_it_was(connected: list, tmp_path: Path) -> None:
    there = {"launcher": "ray", "ray_address": "a:1", "ray_nodes": "H100"}
    run = write_run(tmp_path / "run", **there, machines=[{"node": "lost"}, {"node": "new"}])
    again = Settings(out=run, resume=True)
    with open_launcher(again, print) as launcher:
        assert launcher.facts() == there | {
            "machines": [{"node": "lost"}, {"node": "new", "device": "cpu"}]
        }
        assert launcher.machines() == [{"node": "new", "device": "cpu"}]
    with open_launcher(Settings(out=run, resume=True, ray_address="b:2"), print):
        pass
    assert connected == [("a:1", "H100"), ("b:2", "H100")]
    with open_launcher(Settings(out=run, resume=True, launcher="local"), print) as launcher:
        assert isinstance(launcher.schedule, OneAfterAnother)
        assert "machines" not in launcher.facts(), "what is known of them stays"


def test_run_of_this_machine_stays_here(connected: list, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    with open_launcher(Settings(out=run, resume=True), print) as launcher:
        assert isinstance(launcher.schedule, OneAfterAnother)
    with (
        pytest.raises(UsageError, match="--ray-address is for --launcher ray"),
        open_launcher(Settings(out=run, resume=True, ray_address="a:1"), print),
    ):
        pass


def test_machines_in_words() -> None:
    assert describe_machines([]) == []
    two = {"host": "b", "devices": 8, "niceness": 0}
    lines = describe_machines([two, two, {"host": "a", "devices": 1, "niceness": 15}])
    assert lines[0] == "  blocks at once: 17, on a (1), b (16)"
    assert lines[1].startswith("  warning: workers on a stand back behind all other programs")
