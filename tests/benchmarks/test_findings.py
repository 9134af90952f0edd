"""The page of findings, from a run whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.findings import LOOP, SERIAL, STACKED, controls, flops_text, main, sizes
from paraformer_bench.study.case import Case
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import RECORDS, RUN, read_run

DEPTHS = (1, 2, 4, 8)
LAUNCHES, WORK = 100e-6, 1e-12
"""Seconds of a stacked net's launches, and of a floating-point operation."""


def flops_of(case: Case) -> float:
    return float(1_000 + case.depth * case.spec.tokens * case.spec.width**2)


def seconds_of(case: Case) -> float:
    """Seconds: a net whose blocks are launched one by one, or all at once."""
    launched = 1 if case.execution == "stacked" else case.depth
    return LAUNCHES * launched + WORK * flops_of(case)


def curve(
    model: str, execution: str, width: int, seconds: Callable[[Case], float], **other: int
) -> list[Record]:
    image = 16 * 4
    return [
        Record(
            case=(case := Case.of(
                model=model, execution=execution, runtime="eager", depth=depth, width=width,
                batch=other.get("batch", 1), image=image, patch=16, heads=width // 64,
                branch_depth=1, dtype="float32", device="cpu",
            )),
            block=block, order=0, status="ok",
            wall_seconds=[seconds(case) * (1 + 0.001 * sample) for sample in range(5)],
            rounds=[5], peak_bytes=depth * 2**20, flops=int(flops_of(case)),
        )
        for block in range(4)
        for depth in DEPTHS
    ]  # fmt: skip


def write(folder: Path, records: list[Record]) -> Path:
    folder.mkdir()
    info = {"version": 1, "name": "run", "suite": {"claim": {"margin": 0.1, "confidence": 0.95}},
            "environment": {"devices": {"cpu": "a machine"}}}  # fmt: skip
    (folder / RUN).write_text(json.dumps(info))
    (folder / RECORDS).write_bytes(b"".join(record.line() for record in records))
    return folder


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    methods = [
        record
        for width in (4_096, 64)
        for model, execution in (SERIAL, LOOP, STACKED)
        for record in curve(model, execution, width, seconds_of)
    ]
    others = [
        *curve("serial", "loop", 128, seconds_of),  # without the others
        *(r for key in (SERIAL, LOOP, STACKED) for r in curve(*key, 64, seconds_of, batch=2)),
    ]
    return write(tmp_path / "sizes", [*others, *methods])


def test_a_size_is_a_shape_with_all_three_nets(ladder: Path) -> None:
    found = sizes(read_run(ladder))
    assert [size.case.spec.width for size in found] == [64, 4_096]
    assert [size.flops for size in found] == [17 * 64**2, 17 * 4_096**2]
    assert [size.case.batch for size in found] == [1, 1]


def test_the_line_runs_between_a_net_of_launches_and_one_of_work(ladder: Path) -> None:
    small, large = sizes(read_run(ladder))
    assert (small.constant, large.constant) == (True, False)
    assert small.curves[STACKED].verdict.constant_up_to == 8
    assert small.curves[STACKED].growth(8) == pytest.approx(1, abs=0.01)
    assert small.curves[LOOP].growth(8) == pytest.approx(8, rel=0.01)
    assert small.speedup(8) == pytest.approx(8, rel=0.01)
    assert large.curves[STACKED].verdict.constant_up_to == 1
    block = WORK * 17 * 4_096**2
    truth = (LAUNCHES + 8 * block) / (LAUNCHES + block)
    assert large.curves[STACKED].growth(8) == pytest.approx(truth, rel=1e-4)


def test_controls_stand_beside_the_serial_net_of_their_depth(tmp_path: Path) -> None:
    records = [
        *curve("serial", "loop", 64, lambda case: 1e-3 * case.depth),
        *curve("wide", "loop", 64, lambda case: 2e-3 * case.depth),
        *curve("truncated", "loop", 64, lambda case: 1e-3),
    ]
    found = {row.name: row for row in controls(read_run(write(tmp_path / "run", records)))}
    wide, cut = found["`wide`, loop"], found["`truncated`, loop"]
    assert (wide.depth, wide.verdict, cut.verdict) == (8, "grows", "constant")
    assert (wide.growth, wide.serial) == pytest.approx((8, 2))
    assert (cut.growth, cut.serial) == pytest.approx((1, 1 / 8))


def test_controls_need_one_serial_net(ladder: Path) -> None:
    with pytest.raises(SystemExit, match="one curve of the serial net"):
        controls(read_run(ladder))


def test_the_page_says_what_the_records_say(
    ladder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "docs" / "findings.md"
    nets = [
        ("serial", "loop", 1.0),
        ("wide", "loop", 0.5),
        ("paraformer", "stacked", 0.25),
        ("truncated", "loop", 0.125),
    ]
    control = write(
        tmp_path / "controls",
        [r for *who, s in nets for r in curve(*who, 64, lambda case, s=s: s * case.depth)],
    )
    runs = [f"--sizes={ladder}", f"--star={ladder}", f"--controls={control}"]
    monkeypatch.setattr("sys.argv", ["findings", *runs, f"--out={out}"])
    assert main() == 0
    text = out.read_text()
    assert "| width 64, 17 tokens | 69.6 kFLOP | 8 |" in text
    assert "| width 4096, 17 tokens | 285 MFLOP | 1 |" in text
    assert "it takes 0.500 times as long as the\nserial net, stacked branches 0.250 times." in text
    for name in ("time", "line"):
        drawn = (out.parent / "images" / f"findings-{name}.svg").read_text()
        assert "Para-Former, stacked" in drawn
        assert "mathdefault" not in drawn  # Matplotlib's own typesetting, left as it is


@pytest.mark.parametrize(
    ("flops", "text"), [(31_000, "31.0 kFLOP"), (1.7e6, "1.70 MFLOP"), (2e9, "2.00 GFLOP")]
)
def test_arithmetic_is_told_in_units_of_people(flops: float, text: str) -> None:
    assert flops_text(flops) == text
