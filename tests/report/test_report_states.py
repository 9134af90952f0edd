"""Runs that are less than whole: each still gives a useful page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paraformer_bench.report.build import build_report

OOM = ("oom", "CUDA out of memory. Tried to allocate 2.00 GiB")


def test_one_case(make: Any, tmp_path: Any) -> None:
    records = make.curve(lambda depth: 1e-3, depths=(4,), blocks=1, model="paraformer")
    page = make.page(build_report(make.run(tmp_path, records)))
    assert "one measured depth: a curve needs at least two" in page.text
    assert "Not settled yet" in page.text
    assert "latency" in page.ids


@pytest.mark.parametrize("status", ["error", "skipped", "oom", "timeout", "mismatch"])
def test_only_failures(make: Any, tmp_path: Any, status: str) -> None:
    lost = dict.fromkeys((1, 2), (status, f"{status} for a reason"))
    records = make.curve(lambda depth: 1.0, depths=(1, 2), lost=lost)
    page = make.page(build_report(make.run(tmp_path, records)))
    assert "No answer: nothing was measured." in page.text
    assert f"{status}: {status} for a reason" in page.text
    assert "latency" not in page.ids
    assert json.loads((tmp_path / "verdicts.json").read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("status", "title"),
    [
        ("mismatch", "Not settled: deeper nets could not be timed."),
        ("oom", "Yes, as deep as there was memory for: L = 2."),
    ],
)
def test_a_flat_curve_whose_deeper_nets_failed(
    make: Any, tmp_path: Any, status: str, title: str
) -> None:
    lost = dict.fromkeys((4, 8), (status, "a reason"))
    records = make.curve(lambda depth: 1e-3, lost=lost, model="paraformer")
    page = make.page(build_report(make.run(tmp_path, records)))
    assert title in page.text
    assert f"without depth 4 ({status}), 8 ({status})" in page.text


def test_no_records_and_no_facts(make: Any, tmp_path: Any) -> None:
    folder = make.run(tmp_path / "bare", [], info={})
    page = make.page(build_report(folder))
    assert "This run holds no records, so there is nothing to judge." in page.text
    assert not {"why", "price", "outlook", "latency"} & set(page.ids)
    assert "bare" in page.text
    assert "This run did not record its environment." in page.text


def test_every_fact_may_be_missing(make: Any, tmp_path: Any) -> None:
    records = make.study(depths=(1, 2))
    for missing in make.info():
        info = make.info()
        del info[missing]
        folder = make.run(tmp_path / missing, records[:8], info)
        assert "Verdict on the claim:" in make.page(build_report(folder)).text


def test_interrupted_run_says_so(make: Any, tmp_path: Any) -> None:
    info = make.info(finished=None)
    info["suite"]["protocol"]["blocks"] = 9
    folder = make.run(tmp_path, make.study(depths=(1, 2)), info)
    with (folder / "records.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"case": {"mod')
    page = make.page(build_report(folder))
    assert "Incomplete run. It was interrupted or is still going: 4 blocks of 9" in page.text
    assert "line 25 dropped: torn" in page.text


def test_records_of_an_older_version(make: Any, tmp_path: Any) -> None:
    """Only what a record must have: everything that came later may be missing."""
    folder = make.run(tmp_path, make.study(), {"suite": {"name": "old"}})
    kept = ("case", "block", "order", "status", "reason", "wall_seconds", "device_seconds")
    lines = (folder / "records.jsonl").read_text("utf-8").splitlines()
    old = [{key: json.loads(line)[key] for key in kept} for line in lines]
    text = "".join(json.dumps(record) + "\n" for record in old)
    (folder / "records.jsonl").write_text(text, "utf-8")
    page = make.page(build_report(folder))
    assert "It depends on how and where the net is run." in page.text
    assert {"latency", "speedup", "price", "throughput"} <= set(page.ids)
    assert "memory" not in page.ids
    assert "Energy was not measured: no reason was recorded" in page.text


def test_speedup_is_null_where_the_serial_net_failed(make: Any, tmp_path: Any) -> None:
    records = make.curve(lambda depth: 1e-3 * depth, lost={8: OOM})
    records += make.curve(lambda depth: 1e-3, model="paraformer", execution="stacked")
    page = make.page(build_report(make.run(tmp_path, records)))
    drawing = next(svg for svg in page.svgs if 'id="speedup-1-title"' in svg)
    assert "no serial at depth 8" in drawing
    assert ">no serial</text>" in drawing


def test_calibration_is_told(make: Any, make_calibration: Any, tmp_path: Any) -> None:
    def told(calibration: Any) -> str:
        folder = make.run(tmp_path, [], make.info(calibration=calibration))
        return make.page(build_report(folder)).text

    page = told(make_calibration().plain())
    assert "The instrument was calibrated on 2026-01-02 03:04 UTC. It read known delays" in page
    assert "(wall time): 50.0 µs as 50.2 µs (+0.40%), 200 µs as 200 µs (+0.10%), 1.00 ms" in page
    assert "All of them are within 1% or 2 µs." in page
    assert "Not all of them are within 1% or 2 µs." in told(make_calibration(3e-6).plain())
    assert "doctor --calibrate would have done it" in told(None)


def test_run_older_than_calibration_was_not_calibrated(make: Any, tmp_path: Any) -> None:
    page = make.page(build_report(make.run(tmp_path, [])))
    assert "The instrument was not calibrated here" in page.text


def flagged(make: Any, blocks: set[int]) -> list[Any]:
    """Three flat curves; in the given blocks, which are flagged, one net is slow where deep."""
    records = []
    for model, execution in (
        ("serial", "loop"),
        ("paraformer", "loop"),
        ("paraformer", "stacked"),
    ):
        records += make.curve(lambda _: 1e-3, (1, 4), blocks=6, model=model, execution=execution)
    for record in records:
        if record.block in blocks and record.case.execution == "stacked":
            record.flags = ["cpu_busy"]
            if record.case.depth == 4:
                record.wall_seconds = [2 * seconds for seconds in record.wall_seconds]
    return records


def test_a_verdict_that_hangs_on_flagged_records_shows_both(make: Any, tmp_path: Any) -> None:
    page = make.page(build_report(make.run(tmp_path, flagged(make, {4, 5}))))
    assert "Without its 4 flagged records: constant, constant up to 4." in page.text
    assert "1 curve could be judged again without them: 1 read otherwise" in page.text
    assert "; without flagged records it is constant with depth." in page.text


def test_where_too_little_is_left_nothing_is_claimed(make: Any, tmp_path: Any) -> None:
    page = make.page(build_report(make.run(tmp_path, flagged(make, {0, 1, 2, 3, 4}))))
    assert "Of 1 curve too little is left without them to judge anything." in page.text
    assert "Without its" not in page.text
    assert "without flagged records" not in page.text
