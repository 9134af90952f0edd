"""What asv is given for a run: through asv's own runner, in a process's own working directory."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from asv_runner.discovery import disc_benchmarks
from asv_runner.run import _run
from asv_runner.statistics import compute_stats

from suites import runs
from tests.asv.conftest import CURVES, MakeRun, seconds

SUITES = Path(__file__).parents[2] / "suites"
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in disc_benchmarks(str(SUITES))
    if benchmark.type == "track"
}


class Asv:
    """Runs benchmarks as asv does, on a cache that ``setup_cache`` would have made."""

    def __init__(self, folder: Path, cache: runs.Cache) -> None:
        self._result = folder / "result.json"
        (folder / "cache.pickle").write_bytes(pickle.dumps(cache))

    def __call__(self, name: str, **chosen: object) -> Any:
        """Result of the one set of parameters with these values; the others have but one."""
        benchmark = BENCHMARKS[name]
        names, values = benchmark.param_names, benchmark._params
        places = [
            place
            for place, case in enumerate(itertools.product(*values))
            if chosen.items() <= dict(zip(names, case, strict=True)).items()
        ]
        assert len(places) == 1, "say which"
        return self._at(f"{name}-{places[0]}" if values else name)

    def every(self, name: str) -> list[Any]:
        """Results of all sets of parameters."""
        values = BENCHMARKS[name]._params
        count = math.prod(map(len, values))
        return [self._at(f"{name}-{place}" if values else name) for place in range(count)]

    def _at(self, name: str) -> Any:
        _run((str(SUITES), name, "{}", "None", str(self._result)))
        return json.loads(self._result.read_text(encoding="utf-8"))


@pytest.fixture
def cpu(tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> Asv:
    monkeypatch.chdir(tmp_path)
    return Asv(tmp_path, runs.reduce(make_run()))


@pytest.fixture
def gpu(tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> Asv:
    monkeypatch.chdir(tmp_path)
    return Asv(tmp_path, runs.reduce(make_run("cuda:0", ("graph",))))


def test_latency_is_the_block_medians_in_the_order_of_the_blocks(cpu: Asv) -> None:
    found = cpu(
        "nets.CpuInference.track_latency", model="paraformer", execution="stacked", depth=8
    )
    expected = [seconds("paraformer", "stacked", 8, block) for block in range(runs.BLOCKS)]
    assert found["samples"] == pytest.approx(expected)
    median, stats = compute_stats(found["samples"], found["number"])
    assert median == pytest.approx(0.001 * 8**0.5 * 1.035)
    assert (stats["repeat"], stats["number"]) == (runs.BLOCKS, 1)
    assert math.isfinite(stats["ci_99_a"])
    assert math.isfinite(stats["ci_99_b"])


def test_time_per_image_is_that_of_a_batch_shared_out(cpu: Asv) -> None:
    found = cpu("nets.CpuBatch.track_time_per_image", model="serial", execution="loop")
    expected = [seconds("serial", "loop", runs.SHALLOW, block) for block in range(runs.BLOCKS)]
    assert found["samples"] == pytest.approx(expected)


def test_a_training_step_is_not_an_inference_call(cpu: Asv) -> None:
    found = cpu("nets.CpuTraining.track_step", model="serial", execution="loop")
    assert found["samples"][0] == pytest.approx(3 * seconds("serial", "loop", runs.SHALLOW, 0))


def test_memory_is_what_each_block_saw(cpu: Asv) -> None:
    found = cpu("nets.CpuInference.track_peak_memory", model="serial", execution="loop", depth=4)
    assert found["samples"] == [4_000_000 + block for block in range(runs.BLOCKS)]


@pytest.mark.parametrize(
    ("name", "value"), [("parameter_bytes", 320_000), ("flops", 4_000), ("operations", 16)]
)
def test_counts_are_single_numbers(cpu: Asv, name: str, value: int) -> None:
    assert cpu(f"nets.Counts.track_{name}", model="paraformer", execution="stacked") == value


def test_exponent_is_a_slope_for_each_block(cpu: Asv) -> None:
    name = "nets.CpuCurve.track_exponent"
    serial = cpu(name, model="serial", execution="loop")
    stacked = cpu(name, model="paraformer", execution="stacked")
    assert serial["samples"] == pytest.approx([1.0] * runs.BLOCKS)
    assert stacked["samples"] == pytest.approx([0.5] * runs.BLOCKS)


def test_constant_up_to_is_given_as_its_inverse_and_on_wall_time(gpu: Asv) -> None:
    name = "nets.GpuCurve.track_inverse_of_constant_up_to"
    assert gpu(name, model="serial", execution="loop") == 0.25


def test_device_time_is_apart_from_wall_time(gpu: Asv) -> None:
    case = {"model": "serial", "execution": "loop"}
    wall = gpu("nets.GpuInference.track_latency", **case)
    device = gpu("nets.GpuInference.track_device_time", **case)
    assert device["samples"] == pytest.approx([0.5 * s for s in wall["samples"]])


def test_the_sentinel_has_a_sample_a_block(cpu: Asv) -> None:
    assert cpu("nets.CpuMachine.track_sentinel")["samples"] == [0.003] * runs.BLOCKS


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_without_the_device_all_is_not_available(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = Asv(tmp_path, {"refused": "device cuda:0 is not there"}).every(name)
    assert found
    assert all(math.isnan(value) for value in found)
    assert "device cuda:0 is not there" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(name for name in BENCHMARKS if "Gpu" not in name))
def test_on_a_cpu_every_benchmark_has_a_number_for_all_three_curves(cpu: Asv, name: str) -> None:
    benchmark = BENCHMARKS[name]
    for place, found in enumerate(cpu.every(name)):
        case = next(itertools.islice(itertools.product(*benchmark._params), place, None))
        if not case or case[:2] in CURVES:
            numbers = found["samples"] if isinstance(found, dict) else [found]
            assert all(number > 0 for number in numbers)
        else:
            assert math.isnan(found), "a serial net has no branches to stack"


def _with(tmp_path: Path, make_run: MakeRun, **fields: object) -> Asv:
    return Asv(tmp_path, runs.reduce(make_run(change=lambda record: record.update(fields))))


def test_what_an_old_commit_does_not_record_is_not_available(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old = _with(tmp_path, make_run, operations=None, peak_bytes=None, telemetry={})
    serial = {"model": "serial", "execution": "loop"}
    assert math.isnan(old("nets.Counts.track_operations", **serial))
    assert math.isnan(old("nets.CpuInference.track_peak_memory", depth=1, **serial))
    assert math.isnan(old("nets.CpuMachine.track_sentinel"))
    assert len(old("nets.CpuInference.track_latency", depth=1, **serial)["samples"]) == 8


def test_skipped_is_not_available_and_failed_is_an_error(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    case = {"model": "serial", "execution": "loop", "depth": 1}
    folder = make_run(change=lambda r: r.update(status="skipped", reason="needs cuda"))
    skipped = Asv(tmp_path, runs.reduce(folder))
    assert math.isnan(skipped("nets.CpuInference.track_latency", **case))
    lines = (folder / "records.jsonl").read_text().replace('"skipped"', '"mismatch"')
    (folder / "records.jsonl").write_text(lines)
    with pytest.raises(RuntimeError, match="mismatch: needs cuda"):
        Asv(tmp_path, runs.reduce(folder))("nets.CpuInference.track_latency", **case)


def test_a_count_that_differs_between_blocks_is_an_error(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run(change=lambda record: record.update(flops=record["block"]))
    asv = Asv(tmp_path, runs.reduce(folder))
    with pytest.raises(RuntimeError, match="flops is not the same in all blocks"):
        asv("nets.Counts.track_flops", model="serial", execution="loop")


def test_the_commands_are_timed_in_processes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = SUITES.parent / "reports" / "example-cpu"
    shutil.copytree(example, tmp_path / "run", ignore=shutil.ignore_patterns("traces"))
    asv = Asv(tmp_path, {"refused": None, "folder": str(tmp_path / "run")})
    monkeypatch.setenv("PYTHONPATH", str(SUITES.parent))
    monkeypatch.setattr("suites.cost.Commands.repeat", 1)
    (tmp_path / "run" / "index.html").unlink()
    for name in ("import", "report"):
        found = asv._at(f"cost.Commands.timeraw_{name}")
        assert [second > 0 for second in found["samples"]] == [True]
    assert (tmp_path / "run" / "index.html").is_file()


def test_a_commit_without_a_run_has_no_report_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = Asv(tmp_path, {"refused": "no such command"})._at("cost.Commands.timeraw_report")
    assert math.isnan(found)
