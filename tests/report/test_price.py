"""The price and the outlook on a run page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.report.build import build_report
from paraformer_bench.study import wire
from tests.report.test_why import CEILINGS


def priced(make: Any, **fields: Any) -> list[Any]:
    """Three nets of which the last is eight times as fast at depth 8, for twice the memory."""
    records = make.study(**fields)
    for record in records:
        record.flops = 10**9 * record.case.depth * record.case.batch
        record.peak_bytes = (2 if record.case.execution == "stacked" else 1) * 2**20
        record.energy_joules = None
        record.null_reasons = {"energy_joules": "no counter here"}
    return records


def rows(page: Any, section: str) -> str:
    """The text of one section of a page."""
    start = page.source.index(f'<section id="{section}">')
    return " ".join(page.source[start : page.source.index("</section>", start)].split())


def test_every_price_stands_beside_that_of_the_serial_net(make: Any, tmp_path: Path) -> None:
    page = make.page(build_report(make.run(tmp_path, priced(make))))
    told = rows(page, "price")
    assert "at L = 8" in told
    assert told.count(">8.00 GFLOP <small>1.00×</small>") == 2
    assert "8.00 GFLOP</td>" in told  # the serial net is compared with nothing
    assert "2.00 MiB <small>2.00×</small>" in told
    assert "Energy was not measured: <bdi>no counter here</bdi>" in told
    assert "energy per image" not in told
    assert {"throughput", "memory"} <= set(page.ids)
    assert "energy" not in page.ids


def test_energy_is_shown_for_one_image(make: Any, tmp_path: Path) -> None:
    records = priced(make, batch=4)
    for record in records:
        stacked = record.case.execution == "stacked"
        record.energy_joules = (0.25 if stacked else 1.0) * record.case.depth
    page = make.page(build_report(make.run(tmp_path, records)))
    told = rows(page, "price")
    assert "2.00 J</td>" in told
    assert "0.500 J <small>0.250×</small>" in told
    assert "Energy was not measured" not in told
    [drawing] = [source for source in page.svgs if 'id="energy-1-title"' in source]
    assert "0.0625 at depth 1, 0.500 at depth 8" in drawing


def test_without_a_serial_net_nothing_is_compared(make: Any, tmp_path: Path) -> None:
    records = [record for record in priced(make) if record.case.model != "serial"]
    told = rows(make.page(build_report(make.run(tmp_path, records))), "price")
    assert "2.00 MiB</td>" in told
    assert "×" not in told


def test_a_serial_net_that_failed_where_deep_is_met_where_it_did_not(
    make: Any, tmp_path: Path
) -> None:
    records = priced(make)
    for record in records:
        if record.case.model == "serial" and record.case.depth == 8:
            record.status, record.reason = "oom", "out of memory"
    told = rows(make.page(build_report(make.run(tmp_path, records))), "price")
    assert "at L = 4" in told


def test_who_had_no_memory_where_the_serial_net_had_is_named(make: Any, tmp_path: Path) -> None:
    records = priced(make)
    for record in records:
        if record.case.model != "serial" and record.case.depth == 8:
            record.status, record.reason = "oom", "out of memory"
    told = rows(make.page(build_report(make.run(tmp_path, records))), "price")
    assert "at L = 4" in told
    assert "Here or deeper without a time: <bdi>paraformer loop, eager: oom at L = 8; " in told
    assert "4.00 GFLOP <small>1.00×</small>" in told


def test_the_twin_has_the_same_runtime_and_work_is_that_of_an_image(
    make: Any, tmp_path: Path
) -> None:
    records = priced(make, batch=4)
    slower = make.curve(
        lambda depth: 5e-3 * depth, batch=4, model="serial", execution="loop", runtime="compile"
    )
    for record in slower:
        record.flops, record.peak_bytes = 10**10, 2**30
    told = rows(make.page(build_report(make.run(tmp_path, [*slower, *records]))), "price")
    assert "2.00 MiB <small>2.00×</small>" in told  # of the eager one
    assert ">8.00 GFLOP <small>1.00×</small>" in told  # 32 for four images


def test_nothing_timed_has_no_price(make: Any, tmp_path: Path) -> None:
    records = make.curve(lambda depth: 1.0, depths=(1,), lost={1: ("error", "it broke")})
    assert "price" not in make.page(build_report(make.run(tmp_path, records))).ids


@pytest.fixture
def modelled(make: Any, tmp_path: Path) -> str:
    records = []
    for batch in (1, 4):
        for record in make.study(batch=batch):
            times = record.case.depth if record.case.execution == "loop" else 1
            record.work = [("addmm", times, 10**7 * batch, 10**5), ("add", 50, 0, 10**4)]
            records.append(record)
    info = make.info(ceilings=wire.plain(CEILINGS))
    return rows(make.page(build_report(make.run(tmp_path, records, info))), "outlook")


def test_other_batches_are_predicted(modelled: str) -> None:
    assert (
        "2 curves are predicted to grow from the shallowest depth on at every batch up to 16"
        in modelled
    )
    heads = [f'<th scope="col">{batch}</th>' for batch in (1, 2, 4, 8, 16)]
    assert " ".join(heads).replace(" ", "") in modelled.replace(" ", "")
    assert ">over 4096 <small>measured 8 of 8</small>" in modelled
    assert "twice as fast" not in modelled
    assert "left out" not in modelled


def test_a_model_that_misses_what_was_measured_predicts_nothing(make: Any, tmp_path: Path) -> None:
    records = make.study()
    for record in records:  # the net that is constant seems to have work that grows
        record.work = [("addmm", record.case.depth, 10**8, 10**5)]
    page = make.page(
        build_report(make.run(tmp_path, records, make.info(ceilings=wire.plain(CEILINGS))))
    )
    assert "1 curve is left out: the model misses" in rows(page, "outlook")


def test_the_table_is_about_every_regime_in_it(modelled: str) -> None:
    assert 'data-any-regime="[0, 1]"' in modelled
