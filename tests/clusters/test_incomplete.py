"""A merged run is complete when its records are, whatever its parts say of themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.study.run_folder import PAGE, RECORDS, RUN, read_run

pytestmark = pytest.mark.slow

BANNER = "Incomplete run."


def info_of(folder: Path | str) -> dict[str, Any]:
    """What ``run.json`` holds."""
    info: dict[str, Any] = json.loads(Path(folder, RUN).read_text())
    return info


def missing(folder: str) -> list[str]:
    """What a run says is missing; it must call itself finished if nothing is."""
    info = info_of(folder)
    assert (info["finished"] is None) == (info["missing"] != [])
    assert (BANNER in Path(folder, PAGE).read_text()) == (info["missing"] != [])
    return info["missing"]


def keys(folder: Path) -> list[tuple[str, int]]:
    return sorted(record.key for record in read_run(folder).records)


def keep(folder: str, lines: int) -> None:
    """Lose the records of a shard but for the first few."""
    path = Path(folder, RECORDS)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))


@pytest.mark.parametrize(
    ("left", "lost"), [(20, "52 records"), (71, "1 record"), (0, "72 records")]
)
def test_lost_records_are_missed(cluster, left: int, lost: str) -> None:
    whole = cluster.sweep("whole")
    cluster.shards(2)
    keep("s2", left)
    said = cluster.merge("s1", "s2", out="early")
    assert f"the run is unfinished without shard 2 (lacks {lost}): finish them and" in said
    assert missing("early") == [f"shard 2 (lacks {lost})"]
    cluster.host("node2")
    cluster.sweep("s2", "--resume")
    assert "unfinished" not in cluster.merge("s1", "s2")
    assert missing("merged") == []
    assert keys(Path("merged")) == keys(whole)


def test_lost_file_is_missed_where_blocks_are_divided(cluster) -> None:
    folders = cluster.shards(7)
    Path("s3", RECORDS).unlink()
    cluster.merge(*folders)
    [words] = missing("merged")
    assert words.startswith("shard 3 (lacks ")


def test_lost_cases_are_missed_though_nobody_knows_whose_they_were(cluster) -> None:
    """Two shards of one block, a group each: no other folder has the cases of the second."""
    folders = cluster.shards(2, "--blocks", "1")
    assert missing_after(cluster, folders, "all") == []
    Path("s2", RECORDS).unlink()
    assert missing_after(cluster, folders, "lost") == ["cases of which there is no record"]
    assert missing_after(cluster, folders[:1], "alone") == ["shard 2"]


def missing_after(cluster, folders: list[Path], out: str) -> list[str]:
    cluster.merge(*folders, out=out)
    return missing(out)


def test_shard_that_ran_out_of_time_is_missed(cluster) -> None:
    """`--blocks` says how many there are to be, whatever `--budget` left time for."""
    cluster.sweep("s1", "--shard", "1/2", "--blocks", "8")
    cluster.sweep("s2", "--shard", "2/2", "--blocks", "8", "--budget", "0.000001s")
    cluster.merge("s1", "s2")
    assert {record.block for record in read_run(Path("merged")).records} == {0, 1, 2, 4, 5}
    assert missing("merged") == ["shard 2 (lacks 108 records)"]


def test_lost_records_are_missed_under_a_budget(cluster) -> None:
    folders = cluster.shards(3, "--budget", "0.000001s")
    keep("s2", 0)
    keep("s3", 35)
    assert missing_after(cluster, folders, "early") == [
        "shard 2 (lacks 36 records)",
        "shard 3 (lacks 1 record)",
    ]
    assert missing_after(cluster, folders[:2], "two") == ["shard 2 (lacks 36 records)", "shard 3"]
    for name in ("s2", "s3"):
        cluster.sweep(name, "--resume", "--budget", "0.000001s")
    assert missing_after(cluster, folders, "late") == []


def test_empty_shards_need_not_be_there(cluster) -> None:
    folders = cluster.shards(12)
    said = cluster.merge(*folders[:10])
    assert "merged 10 of 12 shards: 180 records" in said
    assert missing("merged") == []


def test_shard_with_all_its_records_is_unfinished_if_it_says_so(cluster) -> None:
    """It was stopped while it took timelines, say."""
    cluster.shards(2)
    info = info_of("s2") | {"finished": None}
    Path("s2", RUN).write_text(json.dumps(info))
    cluster.merge("s1", "s2")
    assert missing("merged") == ["shard 2 (unfinished)"]


def test_state_of_a_shard_is_its_latest(cluster) -> None:
    """In whichever order an early copy and the finished folder are given."""
    one, two = cluster.shards(2)
    shutil.copytree(two, "early")
    info = info_of(two)
    Path("early", RUN).write_text(json.dumps(info | {"finished": None}))
    keep("early", 20)
    shutil.copytree(two, "a-copy")
    for number, folders in enumerate(
        ([one, "early", two], [one, two, "early"], ["a-copy", "early"])
    ):
        cluster.merge(one, *folders, out=f"m{number}")
        assert missing(f"m{number}") == []
        parts = info_of(f"m{number}")["parts"]
        assert [part["finished"] for part in parts][1] == info["finished"]


def test_longer_shard_is_the_later_state(cluster) -> None:
    """It was resumed with more blocks, and is not through with them."""
    one, two = cluster.shards(2)
    for name in ("a-shorter", "z-shorter"):
        shutil.copytree(two, name)
    cluster.interrupt = lambda case, block: block == 7
    cluster.sweep("s2", "--resume", "--blocks", "9", code=130)
    for name in ("a-shorter", "z-shorter"):
        cluster.merge(one, two, name, out=f"with-{name}")
        part = info_of(f"with-{name}")["parts"][1]
        assert (part["blocks"], part["finished"]) == (9, None)
