"""The pass after timing, over processes that are played and may die."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paraformer_bench.study.case import Case
from paraformer_bench.study.events import Begin, Done, Event, Profiled, Ready
from paraformer_bench.study.job import Job, ProfileJob, Protocol
from paraformer_bench.study.run_folder import RUN, RunInfo, Shard, read_run
from paraformer_bench.study.timelines import PARTIAL, Profile
from paraformer_bench.sweep.plan import Plan
from paraformer_bench.sweep.run import Outcome, run_sweep
from paraformer_bench.sweep.store import Store
from paraformer_bench.sweep.timelines import Allowance, take_timelines

SECONDS = 2.0
"""What a case takes, on a clock that nothing else moves."""


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Player:
    """Plays a profiling process.

    Args:
        job: What to play.
        clock: Moves by `SECONDS` with every case.
        faults: By depth: ``die``, ``hang``, ``interrupt``, ``fail`` (no trace, a reason) or
            ``break`` (the process ends after it); depth 0 stands for the start.
    """

    def __init__(self, job: ProfileJob, clock: Clock, faults: dict[int, str]) -> None:
        self.job = job
        self.patience: list[float] = []
        self._clock = clock
        self._faults = faults
        self._events = self._play()

    def next_event(self, seconds: float) -> Event | None:
        self.patience.append(seconds)
        return next(self._events, None)

    def close(self) -> str:
        return "the worker was killed by SIGSEGV"

    def _play(self) -> Iterator[Event]:
        if self._faults.get(0) == "die":
            return
        yield Ready()
        for case in self.job.cases:
            yield Begin(case_id=case.id, stage="profile")
            fault = self._faults.get(case.depth)
            folder = Path(self.job.folder) / case.id
            folder.mkdir(parents=True, exist_ok=True)
            (folder / PARTIAL).touch()
            if fault == "die":
                return
            if fault == "hang":
                raise TimeoutError
            if fault == "interrupt":
                raise KeyboardInterrupt
            self._clock.now += SECONDS
            (folder / PARTIAL).unlink()
            profile = Profile(reason="no branches")
            if fault != "fail":
                (folder / "t").touch()
                profile = Profile(
                    file=f"{case.id}/t",
                    steps=8,
                    bytes=1000,
                    seconds_per_call_profiled=3.0,
                    seconds_per_call_unprofiled=2.0,
                )
            yield Profiled(case_id=case.id, profile=profile)
            if fault == "break":
                return
        yield Done()


class Played:
    """A pass over four cases, and what became of them."""

    def __init__(self, folder: Path, cases: list[Case]) -> None:
        self.job = ProfileJob(device="cpu", cases=cases, folder=str(folder), plugins=["/p.py"])
        self.clock = Clock()
        self.players: list[Player] = []
        self.kept: dict[int, str | None] = {}

    def __call__(self, faults: dict[int, str] | None = None, **limits: Any) -> None:
        def launch(job: ProfileJob) -> Player:
            self.players.append(Player(job, self.clock, faults or {}))
            return self.players[-1]

        allowance = Allowance(7.0, clock=self.clock, **limits)
        for case, profile in take_timelines(self.job, launch, allowance):
            assert case.depth not in self.kept
            self.kept[case.depth] = profile.reason


@pytest.fixture
def played(tmp_path: Path, case_of: Callable[..., Case]) -> Played:
    return Played(tmp_path / "traces", [case_of(depth) for depth in (1, 2, 4, 8)])


def test_every_case_in_one_process(played: Played) -> None:
    played()
    assert played.kept == {1: None, 2: None, 4: None, 8: None}
    [player] = played.players
    assert player.job == played.job
    assert (player.patience[0], set(player.patience[1:])) == (120.0, {7.0})


SEGV = "error: the worker was killed by SIGSEGV"


@pytest.mark.parametrize(
    ("fault", "reason"), [("die", SEGV), ("hang", "error: no answer within 7 s")]
)
def test_lost_process_costs_one_trace(played: Played, fault: str, reason: str) -> None:
    played({2: fault})
    assert played.kept == {1: None, 2: reason, 4: None, 8: None}
    assert [[c.depth for c in p.job.cases] for p in played.players] == [[1, 2, 4, 8], [4, 8]]
    assert not list(Path(played.job.folder).rglob(PARTIAL))


def test_first_case_that_kills_costs_one_trace(played: Played) -> None:
    played({1: "die"})
    assert played.kept == {1: SEGV, 2: None, 4: None, 8: None}


def test_process_that_never_starts_costs_all(played: Played) -> None:
    played({0: "die"})
    assert played.kept == dict.fromkeys((1, 2, 4, 8), SEGV)
    assert len(played.players) == 1


def test_broken_device_costs_a_new_process_only(played: Played) -> None:
    played({2: "break"})
    assert set(played.kept.values()) == {None}
    assert [len(p.job.cases) for p in played.players] == [4, 2]


def test_case_without_a_trace_keeps_its_reason(played: Played) -> None:
    played({4: "fail"})
    assert played.kept == {1: None, 2: None, 4: "no branches", 8: None}


def test_no_case_is_begun_that_would_end_after_the_deadline(played: Played) -> None:
    played(deadline=played.clock.now + 3.5 * SECONDS)
    spent = "the time budget was spent"
    assert played.kept == {1: None, 2: None, 4: None, 8: spent}


def test_no_time_starts_no_process(played: Played) -> None:
    played(deadline=played.clock.now + 1)
    assert played.players == []
    assert set(played.kept.values()) == {"the time budget was spent"}


def test_traces_have_a_limit_together(played: Played) -> None:
    played(bytes=1500)
    full = "the traces taken before fill the room for traces"
    assert played.kept == {1: None, 2: None, 4: full, 8: full}


def test_interrupt_leaves_nothing_half_written(played: Played) -> None:
    with pytest.raises(KeyboardInterrupt):
        played({2: "interrupt"})
    assert played.kept == {1: None}
    assert [path.name for path in Path(played.job.folder).iterdir()] == [played.job.cases[0].id]


class Sweep:
    """A sweep of two blocks over simulated workers, and the pass after it."""

    def __init__(self, folder: Path, simulated: Any, study_of: Any, cases: list[Case]) -> None:
        self.folder = folder
        self.study_of = study_of
        self.clock = Clock()
        self.order: list[str] = []
        self.faults: dict[tuple[str, str], str] = {}
        self.profile_faults: dict[int, str] = {}
        self.shard: Shard | None = None
        self._simulated = simulated
        self._cases = cases

    def __call__(self, profile: str = "ends", budget: float | None = None) -> Outcome:
        def launch(job: Job) -> Any:
            if isinstance(job, ProfileJob):
                self.order.append("depths " + " ".join(str(case.depth) for case in job.cases))
                return Player(job, self.clock, self.profile_faults)
            self.order.append(f"block {job.block}")
            self.clock.now += 10
            return self._simulated(job, self.faults)

        plan = Plan(
            *(self._cases, {}, "cpu", Protocol(rounds=3), 5, ["/p.py"], 2, budget),
            profile=profile,
            shard=self.shard,
        )
        resumed = self.folder.exists()
        store = (
            Store.resume(self.folder, plan.cases)
            if resumed
            else Store.create(self.folder, RunInfo())
        )
        study, console = self.study_of(plan), Console(file=io.StringIO())
        with store:
            return run_sweep(study, store, console, self.clock(), start=launch, clock=self.clock)

    @property
    def profiles(self) -> dict[int, Profile]:
        profiles = read_run(self.folder).info.profiles or {}
        depths = {case.id: case.depth for case in self._cases}
        return {depths[name]: profile for name, profile in profiles.items()}

    def beside(self, name: str) -> Sweep:
        """Return the same sweep into another folder."""
        return Sweep(self.folder.with_name(name), self._simulated, self.study_of, self._cases)


@pytest.fixture
def sweep(tmp_path: Path, simulated: Any, study_of: Any, case_of: Callable[..., Case]) -> Sweep:
    return Sweep(tmp_path / "run", simulated, study_of, [case_of(depth) for depth in (1, 2, 4)])


def test_pass_comes_after_all_blocks(sweep: Sweep) -> None:
    assert sweep() == Outcome(interrupted=False, broken=0, blocks=2)
    assert sweep.order == ["block 0", "block 1", "depths 1 4"]
    assert set(sweep.profiles) == {1, 4}
    for profile in sweep.profiles.values():
        assert profile.file is not None
        assert (sweep.folder / profile.file).exists()


def test_shards_share_the_room_for_traces(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged, the traces of all of them take no more than those of one long sweep."""
    monkeypatch.setattr("paraformer_bench.sweep.run.MOST_BYTES", 1600)  # a trace has 1000
    sweep.shard = Shard(1, 2, 2)
    sweep()
    full = "the traces taken before fill the room for traces"
    assert {depth: p.reason for depth, p in sweep.profiles.items()} == {1: None, 4: full}
    whole = sweep.beside("whole")
    whole()
    assert {depth: p.reason for depth, p in whole.profiles.items()} == {1: None, 4: None}


def test_no_pass_when_none_is_asked_for(sweep: Sweep) -> None:
    sweep("none")
    assert sweep.order == ["block 0", "block 1"]
    assert sweep.profiles == {}


def test_only_what_was_timed_is_profiled(sweep: Sweep, case_of: Callable[..., Case]) -> None:
    """Where the deepest one fails, the deepest that was timed takes its place."""
    sweep.faults = {(case_of(4).id, "prepare"): "fail"}
    sweep()
    assert sweep.order[-1] == "depths 1 2"


def test_interrupted_pass_is_resumed_where_it_was(sweep: Sweep) -> None:
    sweep.profile_faults = {4: "interrupt"}
    assert sweep() == Outcome(interrupted=True, broken=0, blocks=2)
    assert set(sweep.profiles) == {1}
    sweep.profile_faults = {}
    assert sweep() == Outcome(interrupted=False, broken=0, blocks=2)
    assert sweep.order[3:] == ["depths 4"]
    assert set(sweep.profiles) == {1, 4}
    sweep()
    assert len(sweep.order) == 4


def test_lost_trace_is_no_broken_record(sweep: Sweep) -> None:
    before = sweep.beside("before")
    before("none")
    sweep.profile_faults = {1: "die"}
    assert sweep().broken == 0
    assert sweep.profiles[1].reason == SEGV
    assert (sweep.folder / "records.jsonl").read_text() == (
        before.folder / "records.jsonl"
    ).read_text()


@pytest.mark.parametrize(
    ("budget", "order"),
    [
        (math.inf, ["block 0", "block 1", "depths 1 4"]),
        (28.0, ["block 0", "block 1", "depths 1 4"]),
        (24.0, ["block 0", "depths 1 4"]),  # a fifth of it is kept for the pass
        (11.0, ["block 0"]),
    ],
)
def test_pass_has_its_share_of_the_budget(sweep: Sweep, budget: float, order: list[str]) -> None:
    sweep(budget=budget)
    assert sweep.order == order
    if order == ["block 0"]:
        assert {p.reason for p in sweep.profiles.values()} == {"the time budget was spent"}


def test_run_of_an_older_version_gets_its_timelines(sweep: Sweep) -> None:
    sweep("none")
    assert RUN in {path.name for path in sweep.folder.iterdir()}
    sweep()
    assert set(sweep.profiles) == {1, 4}
