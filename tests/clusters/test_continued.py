"""A merged run that one machine goes on with: its sitting is a part like the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.__main__ import DEFECT
from paraformer_bench.study.machine_file import CALIBRATIONS
from paraformer_bench.study.run_folder import PAGE, RUN, read_run

RESUME = ("sweep", "--resume", "--profile", "none", "--out")


def info_of(folder: str) -> dict[str, Any]:
    return read_run(Path(folder)).info


def parts_of_time(info: dict[str, Any]) -> list[float]:
    return [part["efficiency"]["wall_seconds"] for part in info["parts"]]


def blocks_in(folder: str) -> set[int]:
    return {record.block for record in read_run(Path(folder)).records}


@pytest.fixture
def two_of_three(cluster) -> str:
    """A run merged without its second shard."""
    one, _, three = cluster.shards(3)
    cluster.merge(one, three, out="m")
    return "m"


def test_another_kind_of_machine_is_refused(
    cluster, two_of_three: str, contents_of: Callable[[Path], Any]
) -> None:
    """As `merge` refuses a shard that was measured there."""
    survey = cluster.survey
    cpu = survey.environment["cpu"] | {"model": "Laptop", "torch_threads": 2}
    variables = survey.environment["variables"] | {"MKL_NUM_THREADS": "1"}
    cluster.survey = replace(
        survey,
        environment=survey.environment | {"cpu": cpu, "variables": variables},
        versions=survey.versions | {"python": "3.13"},
    )
    before = contents_of(Path("m"))
    code, said, errors = cluster(*RESUME, "m")
    differences = (
        "python 3.11.7 against 3.13; CPU model EPYC against Laptop; CPU torch threads 4 against "
        "2; $MKL_NUM_THREADS null against 1"
    )
    assert (code, said) == (2, "")
    assert errors == (f"error: cannot resume m here, for its parts must be alike: {differences}\n")
    assert contents_of(Path("m")) == before
    cluster.sweep("elsewhere", "--shard", "2/3")
    message = cluster.refused("m", "elsewhere")
    assert message == f"cannot merge m and elsewhere: {differences}"


def test_other_code_is_refused(cluster, two_of_three: str) -> None:
    info = info_of("m")
    for name in ("commit", "package"):
        Path("m", RUN).write_text(json.dumps(info | {name: "other"}))
        code, _, errors = cluster(*RESUME, "m")
        assert code == 2
        assert " other against " in errors


def test_run_that_was_not_merged_goes_on_anywhere(cluster) -> None:
    cluster.interrupt = lambda case, block: block == 3
    cluster.sweep("whole", code=130)
    cluster.interrupt = lambda case, block: False
    cluster.survey = replace(cluster.survey, versions=cluster.survey.versions | {"python": "4"})
    cluster.sweep("whole", "--resume")


@pytest.mark.parametrize(
    "parts",
    [[], 7, [{}], [{"shard": None, "blocks": 5, "environment": {}, "versions": {}}]],
)
def test_parts_that_make_no_sense(cluster, two_of_three: str, parts: object) -> None:
    Path("m", RUN).write_text(json.dumps(info_of("m") | {"parts": parts}))
    code, _, errors = cluster(*RESUME, "m")
    assert code == 2
    [line] = errors.splitlines()
    assert line.startswith("error: cannot resume m: the parts in its run.json make no sense: ")


def test_time_that_makes_no_sense(cluster, two_of_three: str) -> None:
    info = info_of("m")
    info["parts"][0]["efficiency"]["wall_seconds"] = 10**400
    Path("m", RUN).write_text(json.dumps(info))
    code, _, errors = cluster(*RESUME, "m")
    assert (code, errors.count("\n")) == (2, 1)


def test_sitting_is_a_part_of_the_run(cluster, two_of_three: str) -> None:
    cluster.host("a machine with a longer name")
    before = info_of("m")
    assert "load_average" in before["environment"]["cpu"]
    assert cluster(*RESUME, "m", "--blocks", "6")[0] == 0
    info = info_of("m")
    sitting = info["parts"][-1]
    assert sitting.keys() == info["parts"][0].keys()
    assert (sitting["shard"], sitting["blocks"]) == (None, 6)
    assert sitting["finished"] == info["finished"] is not None
    assert info["environment"]["host"]["name"] == "node1, node3, a machine with a longer name"
    assert "load_average" not in info["environment"]["cpu"]
    for name in ("wall_seconds", "busy_seconds"):
        parts = [part["efficiency"][name] for part in info["parts"]]
        assert info["efficiency"][name] == pytest.approx(sum(parts), abs=1e-9)
        assert before["efficiency"][name] == pytest.approx(sum(parts[:-1]), abs=1e-9)
    assert parts_of_time(info)[-1] > 0
    cluster.merge("m", out="again")
    for name in ("finished", "efficiency", "environment", "versions", "missing", "parts"):
        assert info_of("again")[name] == info[name]


def test_sitting_that_measured_nothing_is_no_part(
    cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.merge(*cluster.shards(2), out="m")
    before = info_of("m")
    cluster.host("elsewhere")
    assert cluster(*RESUME, "m")[0] == 0
    assert info_of("m") == before

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paraformer_bench.sweep.command.note_ceilings", interrupt)
    assert cluster(*RESUME, "m", "--blocks", "6")[0] == 130
    info = info_of("m")
    assert info["parts"] == before["parts"]
    assert info["environment"] == before["environment"]
    assert info["efficiency"] == before["efficiency"]
    assert info["finished"] is None


def test_interrupted_sitting_is_a_part_and_unfinished(cluster, two_of_three: str) -> None:
    cluster.interrupt = lambda case, block: block == 3
    assert cluster(*RESUME, "m")[0] == 130
    info = info_of("m")
    assert info["finished"] is None
    assert info["missing"] == ["shard 2"]
    assert len(info["parts"]) == 3
    assert info["parts"][-1]["finished"] is None
    assert parts_of_time(info)[-1] > 0
    cluster.interrupt = lambda case, block: False
    assert cluster(*RESUME, "m")[0] == 0
    info = info_of("m")
    assert info["finished"] is not None
    assert [part["finished"] is not None for part in info["parts"]] == [True, True, False, True]


def test_sitting_that_is_killed_has_left_its_machine(cluster, two_of_three: str) -> None:
    def die(case: object, block: int) -> bool:
        if block == 3:
            raise RuntimeError("killed")
        return False

    cluster.host("node9")
    cluster.interrupt = die
    assert cluster(*RESUME, "m")[0] == DEFECT
    assert 2 in blocks_in("m")
    assert info_of("m")["environment"]["host"]["name"] == "node1, node3, node9"
    cluster.interrupt = lambda case, block: False
    assert cluster(*RESUME, "m")[0] == 0
    info = info_of("m")
    assert [part["efficiency"] is None for part in info["parts"]] == [False, False, True, False]
    assert info["efficiency"] is None  # nobody knows how long the one that was killed took
    assert info["finished"] is not None


def test_run_is_complete_when_its_blocks_are(cluster) -> None:
    one, *_ = cluster.shards(5)
    cluster.merge(one, out="m")
    budget = ("--budget", "0.000001s")
    code, said, _ = cluster(*RESUME, "m", *budget)
    assert code == 0
    assert said.endswith(
        "the run is unfinished without shard 3, shard 4, shard 5; go on with: "
        "python -m paraformer_bench sweep --resume --out m\n"
    )
    assert blocks_in("m") == {0, 1}
    missing = ["shard 3", "shard 4", "shard 5"]
    assert (info_of("m")["finished"], info_of("m")["missing"]) == (None, missing)
    assert "Incomplete run." in Path("m", PAGE).read_text()
    said = cluster.merge("m", out="again")
    assert (info_of("again")["finished"], info_of("again")["missing"]) == (None, missing)
    # To finish the shards would measure twice what was measured here.
    assert "unfinished without shard 3, shard 4, shard 5: measure the rest here with: " in said
    while info_of("m")["finished"] is None:
        assert cluster(*RESUME, "m", *budget)[0] == 0
    assert blocks_in("m") == {0, 1, 2, 3, 4}
    assert info_of("m")["missing"] == []
    assert "Incomplete run." not in Path("m", PAGE).read_text()
    cluster.merge("m", out="last")
    assert info_of("last")["missing"] == []
    assert info_of("last")["finished"] == info_of("m")["finished"]


def test_more_blocks_of_a_continued_run_are_measured_where_it_was(cluster) -> None:
    one, _ = cluster.shards(2, "--blocks", "2")
    cluster.merge(one, out="m")
    assert cluster(*RESUME, "m")[0] == 0
    [line] = [line for line in cluster.merge("m").splitlines() if "not settled: about" in line]
    assert line.endswith("paraformer_bench sweep --resume --out merged --blocks 3")


def test_shard_that_was_stopped_after_its_last_record_is_finished_by_a_sitting(
    cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its timelines may lack; a sitting takes them unless it is stopped as well."""
    one, two = cluster.shards(2)
    Path(two, RUN).write_text(json.dumps(info_of("s2") | {"finished": None}))
    cluster.merge(one, two, out="m")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("paraformer_bench.sweep.command.note_ceilings", interrupt)
        assert cluster(*RESUME, "m")[0] == 130
    info = info_of("m")
    assert (info["finished"], info["missing"]) == (None, ["shard 2 (unfinished)"])
    assert cluster(*RESUME, "m")[0] == 0
    info = info_of("m")
    assert info["finished"] is not None
    assert (len(info["parts"]), info["missing"]) == (2, [])
    cluster.merge("m", out="again")
    for name in ("finished", "missing"):
        assert info_of("again")[name] == info[name]


def test_shards_under_a_budget_are_continued(cluster) -> None:
    folders = cluster.shards(3, "--budget", "0.000001s")
    cluster.merge(*folders[:2], out="m")
    assert info_of("m")["missing"] == ["shard 3"]
    assert cluster(*RESUME, "m", "--budget", "0.000001s")[0] == 0
    assert blocks_in("m") == {0, 1, 2}
    info = info_of("m")
    assert (info["missing"], info["finished"] is not None) == ([], True)


def test_calibration_of_the_sitting_is_weighed_too(
    cluster, make_calibration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    host = cluster.survey.environment["host"]["name"]
    CALIBRATIONS.keep(replace(make_calibration(), host=host))
    one = cluster.sweep("s1", "--shard", "1/2")
    assert info_of("s1")["calibration"] is not None
    cluster.merge(one, out="m")
    cluster.merge(one, out="n")
    assert cluster(*RESUME, "m")[0] == 0
    assert info_of("m")["parts"][1]["calibration"] == info_of("s1")["calibration"]
    assert info_of("m")["calibration"] is not None
    cluster.host("not calibrated")
    assert cluster(*RESUME, "n")[0] == 0
    assert info_of("n")["calibration"] is None
