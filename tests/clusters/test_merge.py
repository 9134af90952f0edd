"""Shards that are merged are the run that one long job would have made."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.report.markdown import summary
from paraformer_bench.study.run_folder import PAGE, RECORDS, RUN, VERDICTS, read_run

pytestmark = pytest.mark.slow


def info_of(folder: Path | str) -> dict[str, Any]:
    """What ``run.json`` holds."""
    info: dict[str, Any] = json.loads(Path(folder, RUN).read_text())
    return info


def keys(folder: Path) -> set[tuple[str, int]]:
    run = read_run(folder)
    assert run.warnings == []
    found = {record.key for record in run.records}
    assert len(found) == len(run.records)
    return found


def same_report(cluster: Any, a: Path, b: Path) -> None:
    """Check that two runs are judged alike, that they read the same, and that none is slower."""
    verdicts, told = [], []
    for folder in (a, b):
        assert cluster("report", folder)[0] == 0
        judged = json.loads((folder / VERDICTS).read_text())
        verdicts.append(sorted(judged, key=lambda verdict: verdict["curve_id"]))
        # All but its name and moment, and the command that made it, which stands last.
        lines = summary(folder).rpartition("```\npython")[0].splitlines()
        told.append(sorted(line for line in lines if not line.startswith(folder.name)))
        assert "Incomplete run" not in (folder / PAGE).read_text()
    assert verdicts[0] == verdicts[1]
    assert {verdict["verdict"] for verdict in verdicts[0]} == {"constant", "grows"}
    assert told[0] == told[1]
    assert len(told[0]) > 15
    code, said, _ = cluster("compare", a, b)
    assert code == 0
    assert "B against A: 18 SAME" in said


@pytest.mark.parametrize("of", [1, 2, 3, 5])
def test_whole_blocks_merge_to_the_same_bytes(cluster, of: int) -> None:
    whole = cluster.sweep("whole")
    folders = cluster.shards(of)
    said = cluster.merge(*folders)
    merged = Path("merged")
    assert f"merged {of} of {of} shards: 180 records\n" in said
    assert "unfinished" not in said
    assert keys(merged) == keys(whole)
    assert (merged / RECORDS).read_bytes() == (whole / RECORDS).read_bytes()
    assert info_of(merged)["finished"] is not None
    same_report(cluster, whole, merged)


@pytest.mark.parametrize("of", [7, 9, 12])
def test_parts_of_blocks_merge_to_the_same_run(cluster, of: int) -> None:
    """Five blocks of two groups: at most 10 shards, the others are empty."""
    whole = cluster.sweep("whole")
    folders = cluster.shards(of)
    cluster.merge(*folders)
    merged = Path("merged")
    assert keys(merged) == keys(whole)
    assert info_of(merged)["finished"] is not None
    same_report(cluster, whole, merged)


def test_an_empty_shard_says_so_and_is_done(cluster) -> None:
    code, said, _ = cluster(
        *("sweep", "--suite", "clustered.toml", "--profile", "none", "--out", "s"),
        *("--shard", "11/11"),
    )
    assert code == 0
    assert "shard 11 of 11 is empty: of 5 blocks of 2 groups of cases nothing fell to it" in said
    run = read_run(Path("s"))
    assert run.records == []
    assert run.info.finished is not None
    assert "Shard 11 of 11 of a run." in Path("s", PAGE).read_text()


def test_order_of_the_command_changes_nothing(cluster) -> None:
    folders = cluster.shards(7)
    cluster.merge(*folders, out="a")
    cluster.merge(*random.Random(3).sample(folders, 7), out="b")
    assert Path("a", RECORDS).read_bytes() == Path("b", RECORDS).read_bytes()
    infos = [info_of(name) | {"name": "", "command": []} for name in "ab"]
    assert infos[0] == infos[1]


def test_parts_are_left_as_they_are(cluster, contents_of: Callable[[Path], Any]) -> None:
    folders = cluster.shards(3)
    before = [contents_of(folder) for folder in folders]
    cluster.merge(*folders, out="new/place/merged")
    assert [contents_of(folder) for folder in folders] == before
    assert [path.name for path in Path("new/place").iterdir()] == ["merged"]


def test_report_of_one_shard_says_what_it_is(cluster) -> None:
    code, said, _ = cluster(
        *("sweep", "--suite", "clustered.toml", "--profile", "none", "--out", "reports/s"),
        *("--shard", "2/5"),
    )
    assert code == 0
    assert said.startswith("clustered on cpu (EPYC, 4 cores): shard 2 of 5: 18 cases, 1 of 5 bl")
    assert "this is shard 2 of 5 of a run: merge joins them, and judges all of it" in said
    assert "blocks in all would settle" not in said  # more blocks are not what it lacks
    assert "Shard 2 of 5 of a run." in Path("reports/s", PAGE).read_text()
    assert "This is shard 2 of 5 of a run." in summary(Path("reports/s"))
    assert not Path("reports", PAGE).exists()  # jobs that share a folder write no list of runs
    assert cluster("report", "reports/s")[0] == 0
    assert Path("reports", PAGE).exists()
    cluster("report", cluster.sweep("whole"))
    assert "of a run" not in Path("whole", PAGE).read_text()


def test_missing_shard_is_named_and_merged_later(cluster) -> None:
    whole = cluster.sweep("whole")
    one, two, three = cluster.shards(3)
    said = cluster.merge(one, three, out="first")
    assert "merged 2 of 3 shards: 108 records\n" in said
    assert "the run is unfinished without shard 2: finish them and merge again\n" in said
    assert info_of("first")["finished"] is None
    assert info_of("first")["missing"] == ["shard 2"]
    page = Path("first", PAGE).read_text()
    assert "Incomplete run." in page
    assert "3 blocks of 5 left records so far" in page
    assert "unfinished" not in cluster.merge("first", two)
    assert Path("merged", RECORDS).read_bytes() == (whole / RECORDS).read_bytes()
    same_report(cluster, whole, Path("merged"))


def test_merged_run_is_not_gone_on_with(cluster) -> None:
    one, _, three = cluster.shards(3)
    cluster.merge(one, three)
    code, said, errors = cluster("sweep", "--resume", "--out", "merged")
    assert (code, said) == (2, "")
    [line] = errors.splitlines()
    assert line.startswith("error: cannot resume merged: ")


def test_interrupted_shard_is_merged_as_far_as_it_got(cluster) -> None:
    whole = cluster.sweep("whole")
    cluster.interrupt = lambda case, block: block == 3 and case.depth == 4
    two = cluster.sweep("s2", "--shard", "2/3", code=130)
    got = len(keys(two))
    assert 36 < got < 72
    cluster.interrupt = lambda case, block: False
    one, three = (cluster.sweep(f"s{n}", "--shard", f"{n}/3") for n in (1, 3))
    said = cluster.merge(one, two, three, out="early")
    assert "unfinished without shard 2 (unfinished):" in said
    assert len(keys(Path("early"))) == 108 + got
    cluster.sweep("s2", "--shard", "2/3", "--resume")
    # What was merged early stands in both, to the letter.
    said = cluster.merge("early", one, two, three)
    assert f"\n{108 + got} records that stood in several folders to the letter are kept once" in (
        "\n" + said
    )
    assert "unfinished" not in said
    assert keys(Path("merged")) == keys(whole)
    parts = info_of("merged")["parts"]
    assert [part["shard"]["number"] for part in parts] == [1, 2, 3]


def test_samples_of_a_killed_shard_are_not_forgotten(cluster) -> None:
    one, two = cluster.shards(2)
    (two / "journal.jsonl").write_text('{"event": "sampled"}\n')
    said = cluster.merge(one, two)
    assert "warning: s2: it was killed or is still going; the samples in its journal.jsonl" in said


def test_torn_line_is_told_and_left_out(cluster) -> None:
    one, two = cluster.shards(2)
    with (two / RECORDS).open("a") as file:
        file.write('{"case": {')
    said = cluster.merge(one, two)
    assert "warning: s2: records.jsonl line 73 dropped: torn" in said
    assert len(keys(Path("merged"))) == 180


def test_copy_of_a_shard_counts_once(cluster) -> None:
    one, two = cluster.shards(2)
    shutil.copytree(two, "copy")
    said = cluster.merge(one, two, "copy", two)
    assert "144 records that stood in several folders to the letter are kept once" in said
    assert "merged 2 of 2 shards: 180 records" in said
    assert len(keys(Path("merged"))) == 180
    assert len(info_of("merged")["parts"]) == 2


def test_shard_that_was_measured_twice_is_refused(cluster) -> None:
    one, two = cluster.shards(2)
    shutil.copytree(two, "other")
    lines = (two / RECORDS).read_text().replace('"wall_seconds":[0', '"wall_seconds":[1')
    Path("other", RECORDS).write_text(lines)
    message = cluster.refused(one, two, "other")
    assert message.startswith("cannot merge other and s2: both measured ")
    assert message.endswith("; give one of them")


def test_shards_with_more_blocks_want_the_others_to_follow(cluster) -> None:
    whole = cluster.sweep("whole", "--blocks", "9")
    folders = cluster.shards(2)
    cluster.sweep("s1", "--resume", "--blocks", "9")
    said = cluster.merge(*folders, out="early")
    assert "unfinished without shard 2 (of 5 blocks, not 9):" in said
    cluster.sweep("s2", "--resume", "--blocks", "9")
    assert "unfinished" not in cluster.merge(*folders)
    assert Path("merged", RECORDS).read_bytes() == (whole / RECORDS).read_bytes()
    info = info_of("merged")
    assert info["suite"]["protocol"]["blocks"] == info["protocol"]["blocks"] == 9


def test_shards_under_a_budget(cluster) -> None:
    """Each fills its own time with blocks of its own; here with one."""
    cluster.merge(*cluster.shards(3, "--budget", "0.000001s"))
    assert {block for _, block in keys(Path("merged"))} == {0, 2, 4}
    assert info_of("merged")["finished"] is not None


def test_machines_of_all_parts_are_kept_and_shown(cluster) -> None:
    folders = cluster.shards(3)
    cluster.merge(*folders)
    info = info_of("merged")
    infos = [info_of(folder) for folder in folders]
    assert [part["environment"] for part in info["parts"]] == [i["environment"] for i in infos]
    assert [part["command"] for part in info["parts"]] == [i["command"] for i in infos]
    assert info["environment"]["host"] == {"name": "node1, node2, node3", "system": "Linux"}
    assert info["environment"]["devices"] == infos[0]["environment"]["devices"]
    assert "load_average" in info["environment"]["cpu"]  # the hosts' names are of one length
    seconds = sum(i["efficiency"]["wall_seconds"] for i in infos)
    assert info["efficiency"]["wall_seconds"] == pytest.approx(seconds, abs=1e-3)
    assert (info["started"], info["shard"]) == (min(i["started"] for i in infos), None)
    page = Path("merged", PAGE).read_text()
    assert "The jobs of this run together took" in page
    for text in ("shard 1 of 3", "shard 3 of 3", "node1; 20", "node3; 20", "node1, node2, node3"):
        assert text in page


def make_ceilings(flags: list[str], seconds: float) -> dict[str, Any]:
    return {
        "copies": [{"footprint_bytes": 2**20, "bytes_per_second": 1e11}],
        "products": [{"dtype": "float32", "flops": 2 * 64**3, "seconds": 1e-5}],
        "launch_seconds": seconds,
        "node_seconds": None,
        "sync_seconds": 0.0,
        "flags": flags,
        "date": "2026-01-02T03:04:05+00:00",
        "host": "node",
        "device": "cpu",
        "device_name": "EPYC, 4 cores",
        "torch": "2.13.0",
        "package": "0",
        "missing": [],
    }


def test_ceilings_are_the_first_that_nothing_disturbed(cluster) -> None:
    flagged, clean, later = (
        make_ceilings(flags, seconds)
        for flags, seconds in ((["drift"], 1e-6), ([], 2e-6), ([], 3e-6))
    )
    folders = cluster.shards(3)
    for name, measured, expected in (
        ("clean", (flagged, clean, later), clean),
        ("disturbed", (None, flagged, {**flagged, "launch_seconds": 4e-6}), flagged),
        ("none", (None, None, None), None),
    ):
        for number, (folder, ceilings) in enumerate(zip(folders, measured, strict=True)):
            reason = None if ceilings else f"reason {number}"
            info = info_of(folder) | {"ceilings": ceilings, "ceilings_reason": reason}
            (folder / RUN).write_text(json.dumps(info))
        cluster.merge(*folders, out=name)
        info = info_of(name)
        assert info["ceilings"] == expected
        assert info["ceilings_reason"] == (None if expected else "reason 0")


def test_what_differs_between_machines_is_not_said_of_all(cluster) -> None:
    for number, host in enumerate(("short", "a longer name"), start=1):
        cluster.host(host)
        cluster.sweep(f"s{number}", "--shard", f"{number}/2")
    cluster.merge("s1", "s2")
    info = info_of("merged")
    assert "load_average" not in info["environment"]["cpu"]
    assert [part["environment"]["cpu"]["load_average"] for part in info["parts"]] == [5, 13]


def test_traces_come_along(cluster) -> None:
    folders = cluster.shards(2)
    first, second, lost = sorted({case_id for case_id, _ in keys(folders[0])})[:3]
    names = {"s1": [first, second], "s2": [second]}
    for folder in folders:
        profiles = {lost: {"file": None, "reason": f"none in {folder}"}}
        for case_id in names[str(folder)]:
            file = f"traces/{case_id}/cpu.{len(profiles)}{folder}.pt.trace.json.gz"
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_bytes(f"{folder} {case_id}".encode())
            profiles[case_id] = {"file": file, "reason": None, "steps": 5, "bytes": 9}
        info = info_of(folder) | {"profiles": profiles}
        (folder / RUN).write_text(json.dumps(info))
    (Path("s1/traces") / first / "partial.gz").touch()
    cluster.merge(*folders)
    found = {str(p.relative_to("merged")): p.read_text() for p in Path("merged").rglob("*.gz")}
    assert found == {
        f"traces/{first}/cpu.1s1.pt.trace.json.gz": f"s1 {first}",
        f"traces/{second}/cpu.2s1.pt.trace.json.gz": f"s1 {second}",
        f"traces/{second}/cpu.1s2.pt.trace.json.gz": f"s2 {second}",
    }
    profiles = info_of("merged")["profiles"]
    assert profiles[first]["file"] == f"traces/{first}/cpu.1s1.pt.trace.json.gz"
    assert profiles[second]["file"] == f"traces/{second}/cpu.2s1.pt.trace.json.gz"
    assert profiles[lost]["reason"] == "none in s1"


def test_open_curves_come_with_the_way_to_settle_them(cluster) -> None:
    """Two blocks say little, and merging knows how many would say enough."""
    said = cluster.merge(*cluster.shards(2, "--blocks", "2"))
    [line] = [line for line in said.splitlines() if "not settled: about" in line]
    assert line.endswith(": resume every shard with --blocks 3, and merge again")
