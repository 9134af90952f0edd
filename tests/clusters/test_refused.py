"""What is no part of one run is not merged: one line says what differs, and nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench import __version__
from paraformer_bench.clusters import merge as subject
from paraformer_bench.study.run_folder import RUN

pytestmark = pytest.mark.slow

Change = Callable[[dict[str, Any]], None]


def info_of(folder: Path | str) -> dict[str, Any]:
    """What ``run.json`` holds."""
    info: dict[str, Any] = json.loads(Path(folder, RUN).read_text())
    return info


def edit(folder: Path, change: Change) -> None:
    info = info_of(folder)
    change(info)
    (folder / RUN).write_text(json.dumps(info))


@pytest.fixture
def pair(cluster) -> list[Path]:
    return cluster.shards(2)


CHANGES: dict[str, Change] = {
    "torch 2.13.0 against 2.12.0": lambda info: info["versions"].update(torch="2.12.0"),
    "triton null against 3.0": lambda info: info["versions"].update(triton="3.0"),
    "python 3.11.7 against 3.12": lambda info: info["versions"].update(python="3.12"),
    f"version of this package {__version__} against 9": lambda info: info.update(package="9"),
    "commit a against b": lambda info: info.update(commit="b"),
    "seed 0 against 1": lambda info: info.update(seed=1),
    "suite clustered against other": lambda info: info["suite"].update(name="other"),
    "claim margin 0.1 against 0.2": lambda info: info["suite"]["claim"].update(margin=0.2),
    "protocol rounds 2 against 3": lambda info: info["suite"]["protocol"].update(rounds=3),
    "cases not the same": lambda info: info["identity"].update(cases="other"),
    "grid not the same": lambda info: info["suite"]["grid"].pop(),
    'plugin files [] against ["abc"]': lambda i: i["identity"].update(plugins={"p.py": "abc"}),
    'installed plugins {} against {"theirs": "1"}': lambda info: info["identity"].update(
        installed_plugins={"theirs": "1"}
    ),
    "CPU model EPYC against Xeon": lambda info: info["environment"]["cpu"].update(model="Xeon"),
    "CPU torch threads 4 against 2": lambda i: i["environment"]["cpu"].update(torch_threads=2),
    "device cpu (EPYC, 4 cores) against cpu (EPYC, 8 cores)": lambda info: info["environment"][
        "devices"
    ].update(cpu="EPYC, 8 cores"),
    "$NVIDIA_TF32_OVERRIDE null against 1": lambda info: info["environment"]["variables"].update(
        NVIDIA_TF32_OVERRIDE="1"
    ),
    "build of torch: float32 null against tf32": lambda i: i["environment"]["torch"].update(
        float32="tf32"
    ),
    "number of shards 2 against 3": lambda info: info["shard"].update(of=3),
    "blocks that the shards were made for 5 against 4": lambda i: i["shard"].update(blocks=4),
}
"""What differs, and how the second shard comes to differ in it."""


def test_only_the_same_run_is_merged(cluster, pair: list[Path]) -> None:
    one, two = pair
    for folder in pair:
        edit(folder, lambda info: info.update(commit="a"))
    for words, change in CHANGES.items():
        info = info_of(two)
        edit(two, change)
        expected = f"cannot merge s1 and s2: {words}"
        assert cluster.refused(two, one) == cluster.refused(one, two) == expected
        (two / RUN).write_text(json.dumps(info))
    assert "merged 2 of 2 shards" in cluster.merge(one, two)


def test_all_differences_are_in_one_line(cluster, pair: list[Path]) -> None:
    edit(pair[1], lambda info: info["versions"].update(torch="2.12.0", python="3.12"))
    expected = "cannot merge s1 and s2: python 3.11.7 against 3.12; torch 2.13.0 against 2.12.0"
    assert cluster.refused(*pair) == expected


def test_what_changes_from_job_to_job_is_no_difference(cluster, pair: list[Path]) -> None:
    def other_job(info: dict[str, Any]) -> None:
        info["environment"]["variables"]["CUDA_VISIBLE_DEVICES"] = "GPU-2"
        info["environment"]["cpu"] |= {"clock_hz": 1, "memory_available_bytes": 1}
        info["versions"]["seaborn"] = "0.99"
        info["profile"] = "all"

    edit(pair[1], other_job)
    assert "merged 2 of 2 shards" in cluster.merge(*pair)
    info = info_of("merged")
    assert info["environment"]["variables"] == {}
    assert "seaborn" not in info["versions"]
    assert info["parts"][1]["versions"]["seaborn"] == "0.99"


def test_gpus(cluster, survey_of) -> None:
    cluster.survey = survey_of(gpus=2)
    for number, device in ((1, "cuda:0"), (2, "cuda:0"), (3, "cuda:1")):
        cluster.sweep(f"s{number}", "--shard", f"{number}/3", "--device", device)
    message = cluster.refused("s1", "s2", "s3")
    assert message.startswith(
        "cannot merge s1 and s3: device cuda:0 (NVIDIA H200) against cuda:1 (NVIDIA H200); let "
        "CUDA_VISIBLE_DEVICES name the GPU of each job, so that all measure on cuda:0"
    )
    edit(Path("s2"), lambda info: info["environment"]["gpus"]["cuda:0"].update(uuid="GPU-7"))
    assert "merged 2 of 3 shards" in cluster.merge("s1", "s2")
    edit(Path("s2"), lambda info: info["environment"]["gpus"]["cuda:0"].update(driver="580"))
    message = cluster.refused("s1", "s2", out="again")
    assert message == "cannot merge s1 and s2: GPU driver 570.1 against 580"


def test_plugins_may_lie_elsewhere(cluster, pair: list[Path]) -> None:
    for folder, path in zip(pair, ("/a/p.py", "/b/p.py"), strict=True):
        edit(folder, lambda info, path=path: info["identity"].update(plugins={path: "abc"}))
    assert "merged 2 of 2 shards" in cluster.merge(*pair)


def test_whole_run_is_no_part(cluster, pair: list[Path]) -> None:
    cluster.sweep("whole", "--blocks", "1")
    expected = "cannot merge whole: it is a whole run, not a shard of one"
    assert cluster.refused(*pair, "whole") == expected


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda info: info.pop("seed"), ": it lacks seed"),
        (lambda info: info.pop("environment"), ": it lacks environment"),
        (lambda info: info.update(versions=None), ": it lacks versions"),
        (lambda info: info.pop("suite"), ": it lacks suite"),
        (lambda info: info.update(suite=[]), ": suite makes no sense: Expected `object`"),
        (
            lambda info: info["suite"]["protocol"].update(blocks=float("inf")),
            ": blocks must be a whole number from 1 to 10000, not inf",
        ),
        (
            lambda info: info["suite"]["protocol"].update(blocks=10**400),
            ": blocks must be a whole",
        ),
        (lambda info: info["suite"]["protocol"].update(blocks="5"), "to 10000, not '5'"),
        (lambda info: info["shard"].pop("of"), ": shard makes no sense: Object missing required"),
        (
            lambda info: info["shard"].update(number=7),
            ": shard makes no sense: there is no shard 7 of 2",
        ),
        (lambda info: info.update(shard="2/5"), ": shard makes no sense: Expected `object"),
        (lambda info: info.update(parts=[]), ""),
        (lambda info: info.update(parts=7), ""),
        (lambda info: info.update(identity=None), ""),
        (lambda info: info["environment"].update(devices=None), ""),
    ],
)
def test_run_that_makes_no_sense(cluster, pair: list[Path], change: Change, why: str) -> None:
    edit(pair[1], change)
    message = cluster.refused(*pair)
    assert message.startswith("cannot merge s2: ")
    assert why in message


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda info: info["efficiency"].update(wall_seconds="long"), "efficiency makes no"),
        (lambda info: info["efficiency"].update(wall_seconds=float("nan")), "efficiency makes no"),
        (lambda info: info["efficiency"].update(wall_seconds=10**400), "efficiency makes no"),
        (lambda info: info.update(profiles={"x": 7}), "profiles makes no sense"),
        (lambda info: info.update(started=["x"]), "started makes no sense"),
        (lambda info: info.update(started={}), "started makes no sense"),
    ],
)
def test_facts_that_make_no_sense(cluster, pair: list[Path], change: Change, why: str) -> None:
    edit(pair[0], change)
    edit(pair[1], lambda info: info.update(profiles={"x": {"file": "f"}}))
    assert why in cluster.refused(*pair)


def test_nothing_is_written_over(cluster, pair: list[Path]) -> None:
    Path("empty").mkdir()
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    for out in ("s1", "empty", "file", "link"):
        expected = f"{out} is there already: name another folder with --out"
        assert cluster.refused(*pair, out=out) == expected


def test_place_that_cannot_be_written(cluster, pair: list[Path]) -> None:
    Path("file").touch()
    assert cluster.refused(*pair, out="file/merged") == "cannot write file/merged: Not a directory"
    assert cluster.refused(*pair, out="x" * 255).endswith(": File name too long")


def test_disk_that_fills_up_leaves_nothing(
    cluster, pair: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:9])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(subject, "_write_file", full)
    assert cluster.refused(*pair) == "cannot write merged: No space left on device"


def test_folder_that_appears_meanwhile_is_kept(
    cluster, pair: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = subject._write_file

    def write_while_another_merges(path: Path, data: bytes) -> None:
        write(path, data)
        Path("merged").mkdir(exist_ok=True)
        Path("merged", "theirs").touch()

    monkeypatch.setattr(subject, "_write_file", write_while_another_merges)
    code, _, errors = cluster("merge", *pair, "--out", "merged")
    assert (code, errors) == (
        2,
        "error: merged is there already: name another folder with --out\n",
    )
    assert [path.name for path in Path("merged").iterdir()] == ["theirs"]
    assert sorted(path.name for path in Path().iterdir() if path.is_dir()) == [
        "merged",
        "s1",
        "s2",
    ]


def test_survey_of_another_kind_of_machine(cluster) -> None:
    """Through the command line from the start, not by editing what it wrote."""
    cluster.sweep("s1", "--shard", "1/2")
    names = {"cpu": "Xeon, 8 cores"}
    cluster.survey = replace(
        cluster.survey, environment=cluster.survey.environment | {"devices": names}
    )
    cluster.sweep("s2", "--shard", "2/2")
    assert cluster.refused("s1", "s2") == (
        "cannot merge s1 and s2: device cpu (EPYC, 4 cores) against cpu (Xeon, 8 cores)"
    )
