"""Timelines of real nets on the CPU: what is in the file, under which names."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from paraformer_bench.instrument import capture as subject
from paraformer_bench.instrument.bench import Builder, build_model, make_input
from paraformer_bench.instrument.capture import LEAST_STEPS, MOST_STEPS, annotate, capture
from paraformer_bench.instrument.counts import count
from paraformer_bench.instrument.device import Device, open_device
from paraformer_bench.instrument.training import recording
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import Unsupported
from paraformer_bench.study.job import ProfileJob
from paraformer_bench.study.registry import EXECUTIONS
from paraformer_bench.study.timelines import Profile
from paraformer_bench.timeline.metrics import examine
from paraformer_bench.workers import profile as profiler

Trace = list[dict[str, Any]]
CPU = torch.device("cpu")


def small(model: str = "paraformer", execution: str = "loop", depth: int = 2, **f: Any) -> Case:
    usual = {"runtime": "eager", "width": 64, "batch": 1, "image": 64, "patch": 16, "heads": 1}
    usual |= {"branch_depth": 1, "dtype": "float32", "device": "cpu"}
    return Case.of(**usual | {"model": model, "execution": execution, "depth": depth} | f).check()


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """With more, a small net on a busy machine waits for the slowest of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def device() -> Iterator[Device]:
    with torch.inference_mode():
        yield open_device("cpu")


@pytest.fixture
def take(device: Device, tmp_path: Path) -> Callable[..., tuple[Profile, Trace]]:
    """Profile a case as the profiling process does; return the events of its trace too."""

    def take(case: Case, **fields: Any) -> tuple[Profile, Trace]:
        job = ProfileJob(
            device="cpu", cases=[case], folder=str(tmp_path), **({"seconds": 0.05} | fields)
        )
        profile = profiler.profile_case(case, device, job)
        assert profile.file is not None
        return profile, read(tmp_path / profile.file)

    return take


def read(path: Path) -> Trace:
    with gzip.open(path) as file:
        events: Trace = json.load(file)["traceEvents"]
    return [event for event in events if event["ph"] == "X"]


def within(events: Trace, outer: dict[str, Any]) -> Trace:
    """Events of the same thread that lie within ``outer``, without it."""
    end = outer["ts"] + outer["dur"]
    return [
        event
        for event in events
        if event is not outer
        and event["tid"] == outer["tid"]
        and outer["ts"] <= event["ts"]
        and event["ts"] + event["dur"] <= end
    ]


def steps(events: Trace) -> list[Trace]:
    """The events of each step."""
    found = [event for event in events if event["name"].startswith("ProfilerStep#")]
    return [within(events, step) for step in found]


def operations(step: Trace, names: set[str]) -> Counter[str]:
    """Operations with these names, without those that are part of another one of them."""
    events = [e for e in step if e["cat"] == "cpu_op"]
    events = [e for e in events if e["name"].removeprefix("aten::") in names]
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    found: Counter[str] = Counter()
    end = -1.0
    for event in events:
        if event["ts"] >= end:
            found[event["name"].removeprefix("aten::")] += 1
            end = event["ts"] + event["dur"]
    return found


def marks(step: Trace) -> list[str]:
    """Names of the branches' annotations in the order of their beginning."""
    found = [event for event in step if event["name"].startswith("branch/")]
    return [event["name"] for event in sorted(found, key=lambda event: event["ts"])]


@pytest.mark.parametrize("depth", [1, 16])
@pytest.mark.parametrize(
    ("model", "execution"),
    [("serial", "loop"), ("paraformer", "loop"), ("paraformer", "stacked")],
)
def test_operations_are_those_that_were_dispatched(
    take: Callable[..., Any], model: str, execution: str, depth: int
) -> None:
    """The same kinds as often as the dispatch mode counts them, in every step."""
    case = small(model, execution, depth)
    run = EXECUTIONS.get(execution).factory(build_model(case, CPU), make_input(case, CPU, 0))
    counts = count(run, make_input(case, CPU, 0))
    dispatched: Counter[str] = Counter()
    for name, times, _, _ in counts.work:
        dispatched[name] += times
    profile, events = take(case)
    found = [operations(step, set(dispatched)) for step in steps(events)]
    assert len(found) == profile.steps
    assert found == [dispatched] * profile.steps
    assert sum(found[0].values()) == counts.operations


def test_branches_are_marked_in_their_order(take: Callable[..., Any]) -> None:
    _, events = take(small(depth=3))
    for step in steps(events):
        assert marks(step) == ["branch/0", "branch/1", "branch/2"]
        for mark in (event for event in step if event["name"].startswith("branch/")):
            inside = [event["name"] for event in within(step, mark)]
            assert inside.count("aten::addmm") == 4
            assert mark["cat"] == "user_annotation"


def named(step: Trace, beginning: str) -> list[str]:
    """Names of the annotations with this beginning, in the order of their beginning."""
    found = [event for event in step if event["name"].startswith(beginning)]
    return [event["name"] for event in sorted(found, key=lambda event: event["ts"])]


@pytest.mark.parametrize("scope", ["whole", "trunk"])
def test_layers_of_a_serial_net_are_marked(take: Callable[..., Any], scope: str) -> None:
    _, events = take(small("serial", depth=3, scope=scope))
    for step in steps(events):
        assert named(step, "layer/") == ["layer/0", "layer/1", "layer/2"]
        for mark in (event for event in step if event["name"].startswith("layer/")):
            assert [e["name"] for e in within(step, mark)].count("aten::addmm") == 4


@pytest.mark.parametrize("execution", ["loop", "stacked"])
def test_places_with_branches_are_marked(take: Callable[..., Any], execution: str) -> None:
    _, events = take(small(execution=execution))
    for step in steps(events):
        assert named(step, "branches/") == ["branches/0"]
        assert named(step, "layer/") == []
    _, events = take(small("parallel_vit", execution, depth=2, branch_depth=1))
    for step in steps(events):
        assert named(step, "branches/") == ["branches/0", "branches/1"]
        assert named(step, "layer/") == ["layer/0"]


def test_branch_of_several_blocks_is_one(take: Callable[..., Any]) -> None:
    _, events = take(small(depth=4, branch_depth=2))
    assert marks(steps(events)[0]) == ["branch/0", "branch/1"]


@pytest.mark.parametrize(
    ("model", "execution"),
    [("serial", "loop"), ("paraformer", "stacked"), ("paraformer", "vmap")],
)
def test_no_branch_is_marked_where_none_runs_by_itself(
    take: Callable[..., Any], model: str, execution: str
) -> None:
    _, events = take(small(model, execution))
    assert [marks(step) for step in steps(events)] == [[]] * len(steps(events))


def test_branches_that_fail_leave_no_open_mark(device: Device, tmp_path: Path) -> None:
    model = build_model(small(), CPU)
    annotate(model)
    images = make_input(small(), CPU, 0)

    def call() -> object:
        with pytest.raises(ValueError, match="unpack"):
            model.trunk(images)  # images are no tokens
        return model(images)

    profile = capture(call, device.clock, CPU, tmp_path / "case", 0.01)
    for step in steps(read(tmp_path / str(profile.file))):
        assert marks(step) == ["branch/0", "branch/0", "branch/1"]
        first, second, _ = (e for e in step if e["name"].startswith("branch/"))
        assert first["ts"] + first["dur"] <= second["ts"]


def test_training_step_is_taken_whole(take: Callable[..., Any]) -> None:
    _, events = take(small(mode="train"))
    for step in steps(events):
        names = {event["name"] for event in step}
        assert "Optimizer.step#AdamW.step" in names
        assert marks(step) == ["branch/0", "branch/1"]


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize(
    ("model", "execution"),
    [("serial", "loop"), ("paraformer", "loop"), ("paraformer", "stacked")],
)
def test_timeline_of_training_has_the_operations_that_were_dispatched(
    take: Callable[..., Any], device: Device, tmp_path: Path, model: str, execution: str
) -> None:
    case = small(model, execution, mode="train")
    profile, _ = take(case)
    with recording():
        example = make_input(case, CPU, 0)
        run = Builder(device, 0).run_or_step(case, build_model(case, CPU), example)
        run(example)  # the optimiser makes its state at its first step and never again
        dispatched = count(run, example).operations
    timeline = examine(tmp_path / str(profile.file)).timeline
    assert timeline.reason == ""
    assert timeline.operations == dispatched


def test_shapes_and_memory_are_on(take: Callable[..., Any], tmp_path: Path) -> None:
    profile, events = take(small())
    product = next(event for event in events if event["name"] == "aten::addmm")
    assert [16, 768] in product["args"]["Input Dims"]
    with gzip.open(tmp_path / profile.file, "rt") as file:
        assert '"[memory]"' in file.read()


def test_file_is_named_for_all_readers(take: Callable[..., Any], tmp_path: Path) -> None:
    profile, _ = take(small())
    folder, name = str(profile.file).split("/")
    assert folder == small().id
    assert re.fullmatch(r"cpu\.\d+\.pt\.trace\.json\.gz", name)
    assert [path.name for path in (tmp_path / folder).iterdir()] == [name]
    assert profile.bytes == (tmp_path / folder / name).stat().st_size
    again, _ = take(small())
    assert again.file != profile.file


class Ticking:
    """A clock on which a call takes ``plain`` seconds, and ``profiled`` under the profiler."""

    def __init__(self, plain: float, profiled: float) -> None:
        self._times = [plain] * LEAST_STEPS
        self._then = profiled

    def wall(self, call: Callable[[], object]) -> float:
        call()
        return self._times.pop() if self._times else self._then


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.001, LEAST_STEPS), (0.06, 6), (10.0, MOST_STEPS)]
)
def test_steps_follow_the_time_there_is(tmp_path: Path, seconds: float, expected: int) -> None:
    clock: Any = Ticking(0.0099, 0.03)
    profile = capture(lambda: torch.ones(4).add_(1), clock, CPU, tmp_path / "case", seconds)
    assert profile.steps == expected
    assert len(steps(read(tmp_path / str(profile.file)))) == expected
    assert profile.seconds_per_call_unprofiled == 0.0099
    assert profile.seconds_per_call_profiled == 0.03
    assert profile.slowdown == pytest.approx(0.03 / 0.0099)


def test_trace_that_is_too_large_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MOST_TRACE_BYTES", 100)
    with pytest.raises(Unsupported, match=r"its trace of \d calls takes 0 MB"):
        capture(lambda: torch.ones(4), Ticking(1.0, 1.0), CPU, tmp_path / "case", 1.0)  # type: ignore[arg-type]
    assert list((tmp_path / "case").iterdir()) == []


def test_case_that_cannot_run_has_a_reason(device: Device, tmp_path: Path) -> None:
    job = ProfileJob(device="cpu", cases=[], folder=str(tmp_path))
    assert profiler.try_case(small(scope="trunk"), device, job).reason is None
    skipped = profiler.try_case(small("serial", "stacked"), device, job)
    assert skipped.file is None
    assert skipped.reason == "the model has no branches that this execution can find"
    broken = profiler.try_case(small(dtype="tf32"), device, job)
    assert broken.file is None
    assert broken.reason


def test_mismatch_is_found_before_the_timeline(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paraformer_bench.instrument.gate.relative_error", _refuse_output)
    job = ProfileJob(device="cpu", cases=[], folder=str(tmp_path), check=True)
    assert str(profiler.try_case(small(), device, job).reason).startswith("mismatch: ")
    assert list(tmp_path.iterdir()) == []
    unchecked = ProfileJob(device="cpu", cases=[], folder=str(tmp_path))
    assert profiler.try_case(small(), device, unchecked).reason is None


def _refuse_output(*_: object) -> float:
    from paraformer_bench.instrument.gate import Mismatch

    raise Mismatch("something else")
