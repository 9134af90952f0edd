"""The page of a run: what it says, and what it never does."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from paraformer_bench.report.build import build_report
from paraformer_bench.study.errors import UsageError

OOM = ("oom", "CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.fixture(scope="module")
def gpu_page(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two widths on a GPU, one curve out of memory at the deepest, one skipped altogether."""
    records = make.study(device="cuda:0", gpu=True)
    records += make.study(device="cuda:0", gpu=True, width=768)
    records += make.curve(
        lambda depth: 1.3e-3,
        lost={8: OOM},
        gpu=True,
        device="cuda:0",
        model="paraformer",
        execution="vmap",
    )
    gone = dict.fromkeys((1, 2, 4, 8), ("skipped", "no branches to shard"))
    records += make.curve(
        lambda depth: 1.0, lost=gone, device="cuda:0", model="paraformer", execution="sharded"
    )
    records[0].flags = ["drift"]
    folder = make.run(tmp_path_factory.mktemp("run") / "gpu", records)
    return make.page(build_report(folder))


def test_says_the_answer_the_verdicts_and_every_regime(gpu_page: Any) -> None:
    text = gpu_page.text
    assert "Verdict on the claim: mixed" in text
    for verdict in ("→ constant", "↗ grows", "– not measured"):
        assert verdict in text
    for width in (192, 768):
        regime = f"width {width} · batch 1 · 197 tokens · float32 · cuda:0 · inference · whole net"
        assert regime in text
        curve = f"paraformer-stacked-eager-w{width}-b1-t197-float32-cuda0-inference-whole"
        assert curve in [a.get("data-curve") for tag, a in gpu_page.tags if tag == "tbody"]


def test_tables_hold_the_numbers_of_the_verdicts(make: Any, tmp_path: Any) -> None:
    folder = make.run(tmp_path, make.study())
    page = make.page(build_report(folder))
    verdicts = json.loads((folder / "verdicts.json").read_text("utf-8"))
    assert [v["verdict"] for v in verdicts] == ["grows", "grows", "constant"]
    for verdict in verdicts:
        worst = verdict["worst"]
        assert f"{worst['ratio']:.3g}" in page.text
        assert f"L {worst['from']} to {worst['to']}" in page.text
        assert f"L = {verdict['constant_up_to']} of 8" in page.text


def test_what_failed_is_in_the_tables_and_on_the_figures(gpu_page: Any) -> None:
    assert f"Not measured at L = 8 (oom): {OOM[1]}" in gpu_page.text
    assert "skipped: no branches to shard" in gpu_page.text
    latency = next(svg for svg in gpu_page.svgs if 'id="latency-1-title"' in svg)
    assert ">oom</text>" in latency
    assert "oom at depth 8" in latency
    assert "sharded" not in latency  # skipped at every depth: a table says so


def test_flags_are_counted_and_explained(gpu_page: Any) -> None:
    assert "drift 1 of 128 the sentinel case moved by more than 10%" in gpu_page.text


def test_gpu_runs_show_device_time_and_wall_clock(gpu_page: Any) -> None:
    assert {"latency", "wall", "speedup", "throughput", "memory"} <= set(gpu_page.ids)
    bases = [attrs for tag, attrs in gpu_page.tags if attrs.get("data-head") == "time"]
    # 6 curves and vmap, each with two bases, and the one without any time.
    assert len(bases) == 2 * 7 + 1


def test_cpu_runs_have_one_time_and_no_wall_figure(make: Any, tmp_path: Any) -> None:
    page = make.page(build_report(make.run(tmp_path, make.study())))
    assert "latency" in page.ids
    assert "wall" not in page.ids
    assert not [attrs for _, attrs in page.tags if attrs.get("data-head") == "time"]


def test_inconclusive_says_how_many_more_blocks(make: Any, tmp_path: Any) -> None:
    records = make.curve(lambda depth: 1e-3 if depth < 8 else 1.09e-3, blocks=3, model="para")
    folder = make.run(tmp_path, records)
    page = make.page(build_report(folder))
    (verdict,) = json.loads((folder / "verdicts.json").read_text("utf-8"))
    assert verdict["verdict"] == "inconclusive"
    more = verdict["blocks_to_settle"] - 3
    assert more >= 1
    assert f"About {more} more block" in page.text


def test_title_claims_no_more_than_the_verdicts(make: Any, tmp_path: Any) -> None:
    flat = make.curve(lambda depth: 1e-3, model="flat")
    steep = make.curve(lambda depth: 1e-3 * depth, model="steep")
    open_ = make.curve(lambda depth: 1e-3, model="open", blocks=1)
    serial = make.curve(lambda depth: 1e-3 * depth)
    for number, (records, title) in enumerate(
        [
            (flat, "→ Yes, as deep as was tested: L = 8."),
            (steep, "↗ No. Time grows with depth."),
            (flat + steep, "⇄ It depends on how and where the net is run."),
            (flat + open_, "⇄ Some curves stay constant, the others are not settled."),
            (steep + open_, "⇄ Some curves grow, the others are not settled."),
            (open_, "? Not settled yet: more blocks are needed."),
            (serial, "? No answer: no parallel net was measured."),
        ]
    ):
        assert title in make.page(build_report(make.run(tmp_path / str(number), records))).text


def test_requests_nothing(gpu_page: Any) -> None:
    fetching = ("src", "srcset", "data", "poster", "action", "background", "xlink:href")
    for tag, attrs in gpu_page.tags:
        assert not set(fetching) & attrs.keys(), (tag, attrs)
        target = attrs.get("href", "")
        if tag != "a":
            assert not target or target.startswith(("#", "data:")), (tag, attrs)
        assert tag not in ("iframe", "object", "embed", "img", "image", "base")
    assert "@import" not in gpu_page.source
    assert "url(http" not in gpu_page.source
    policy = next(a["content"] for t, a in gpu_page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "script-src 'sha256-" in policy


def test_links_within_the_page_lead_somewhere(gpu_page: Any) -> None:
    inside = {a["href"][1:] for _, a in gpu_page.tags if a.get("href", "").startswith("#")}
    assert inside <= set(gpu_page.ids)
    assert {"verdicts", "data", "regime-1", "regime-2"} <= inside


def test_built_twice_is_the_same_bytes(make: Any, tmp_path: Any) -> None:
    folder = make.run(tmp_path, make.study(depths=(1, 4)))
    first = build_report(folder).read_bytes()
    verdicts = (folder / "verdicts.json").read_bytes()
    assert build_report(folder).read_bytes() == first
    assert (folder / "verdicts.json").read_bytes() == verdicts
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "run.json",
        "records.jsonl",
        "verdicts.json",
        "predictions.json",
        "index.html",
    }


def test_carries_its_case_table_as_csv(make: Any, tmp_path: Any) -> None:
    page = make.page(build_report(make.run(tmp_path, make.study())))
    link = next(a["href"] for _, a in page.tags if a.get("download") == "cases.csv")
    kind, _, data = link.partition(",")
    assert kind == "data:text/csv;charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(unquote(data))))
    assert len(rows) == 12
    assert {row["model"] for row in rows} == {"serial", "paraformer"}
    deepest = next(row for row in rows if row["case_id"].startswith("serial-loop-eager-d8-"))
    assert float(deepest["wall"]) == pytest.approx(8e-3, rel=0.1)
    weights = 8 * 12 * 192**2 * 4
    assert deepest["parameter_bytes"] == str(weights)
    assert deepest["peak_bytes"] == str(weights + 11 * 2**20)


def test_tells_where_when_and_how(make: Any, tmp_path: Any) -> None:
    page = make.page(build_report(make.run(tmp_path, make.study(depths=(1, 2)))))
    for words in (
        "cpu (AMD EPYC 7B13, 2 cores)",
        "2025-11-23 20:13 UTC",
        "0123456789ab+changes",
        "python -m paraformer_bench sweep --out 'a b'",
        "host system Linux 6.1 cores 2 load 0.3, 0.2, 0.1",
        "The sweep took 3 min 12 s",
        "2 min 51 s of it (89%) passed in warm-up or timed calls",
    ):
        assert words in page.text
    assert "Incomplete run" not in page.text
    links = {attrs.get("href") for tag, attrs in page.tags if tag == "a"}
    assert {"records.jsonl", "verdicts.json", "run.json", "../index.html"} <= links


def test_kernel_timelines_are_linked(make: Any, tmp_path: Any) -> None:
    folder = make.run(tmp_path, [])
    trace = folder / "traces" / "a case" / "x.pt.trace.json.gz"
    trace.parent.mkdir(parents=True)
    trace.write_bytes(b"")
    page = make.page(build_report(folder))
    links = {attrs.get("href") for tag, attrs in page.tags if tag == "a"}
    assert "traces/a%20case/x.pt.trace.json.gz" in links


def test_refuses_what_is_no_run(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"is not a run folder: it has no run\.json"):
        build_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_five_hundred_cases_take_less_than_two_megabytes(make: Any, tmp_path: Any) -> None:
    """12 regimes of 6 curves at 7 depths in 8 blocks, judged by what each regime adds."""
    depths = (1, 2, 4, 8, 16, 32, 64)
    sizes = []
    records = []
    for batch in (1, 8, 64):
        fields = {"device": "cuda:0", "gpu": True, "batch": batch, "blocks": 8}
        records += make.study(depths, **fields)
        for execution in ("streams", "vmap", "sharded"):
            fields |= {"model": "paraformer", "execution": execution}
            records += make.curve(lambda depth: 1.2e-3, depths, **fields)
        page = build_report(make.run(tmp_path / str(batch), records))
        sizes.append(page.stat().st_size)
    assert sizes[2] + 9 * (sizes[2] - sizes[1]) < 2e6


def test_lists_its_files_with_their_hashes(make: Any, tmp_path: Any) -> None:
    folder = make.run(tmp_path, make.study(depths=(1, 2)))
    page = make.page(build_report(folder))
    for name in ("records.jsonl", "verdicts.json", "predictions.json", "run.json"):
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() in page.text
    assert "@misc{wang2024dynamic," in page.text


def test_an_old_parquet_is_not_offered(
    make: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    folder = make.run(tmp_path, make.study(depths=(1, 2)))
    (folder / "cases.parquet").write_bytes(b"of an earlier state")
    page = make.page(build_report(folder))
    assert not (folder / "cases.parquet").exists()
    assert "cases.parquet" not in page.text


def test_run_of_several_machines(make: Any, tmp_path: Any) -> None:
    nodes = [{"node": "n1", "host": "left"}, {"node": "n2", "host": "right"}]
    spent = {"wall_seconds": 100.0, "busy_seconds": 150.0, "device_seconds": 200.0, "share": 0.75}
    info = make.info(machines=nodes, efficiency=spent)
    page = make.page(build_report(make.run(tmp_path, [], info)))
    assert "on several devices at once; 75% of their time (2 min 30 s) passed in" in page.text
    assert "left" in page.text
    assert "right" in page.text


def test_a_folder_that_cannot_be_written_is_named_as_such(
    make: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only file system not even what is not there can be removed."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    folder = make.run(tmp_path, make.curve(lambda depth: 1e-3))
    for name in ("write_bytes", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(UsageError) as caught:
        build_report(folder)
    assert str(caught.value) == f"cannot write {folder / 'verdicts.json'}: Read-only file system"
