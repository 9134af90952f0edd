from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from paraformer_bench.study import child
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.machine_file import CALIBRATIONS
from paraformer_bench.study.run_folder import MOST_BLOCKS, Shard, read_run
from paraformer_bench.study.survey import Survey
from paraformer_bench.sweep import setup as subject
from paraformer_bench.sweep.plan import Settings, Study
from paraformer_bench.sweep.resume import commit, find_run, identity
from paraformer_bench.sweep.setup import open_store

SMOKE = Settings(suite="smoke", device="cpu")


def set_up(settings: Settings, cluster: object = None) -> Study:
    """Set up as the command does."""
    return subject.set_up(settings, find_run(settings), cluster)


class Cluster:
    """Nodes of one kind.

    Attributes:
        asked: Plugins and device of every survey.
    """

    def __init__(self, survey: Survey, model: str = "EPYC") -> None:
        cpu = survey.environment["cpu"] | {"model": model, "load_average": 0.9}
        self._survey = replace(survey, environment=survey.environment | {"cpu": cpu})
        self.asked: list[tuple[Sequence[Path], str | None]] = []

    def survey(self, plugins: Sequence[Path], device: str | None) -> Survey:
        self.asked.append((plugins, device))
        return self._survey


@pytest.fixture(autouse=True)
def survey(
    survey_of: Callable[..., Survey], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subject, "take_survey", lambda plugins: survey_of(gpus=2))
    monkeypatch.chdir(tmp_path)


def install(monkeypatch: pytest.MonkeyPatch, plugins: dict[str, str]) -> None:
    """Let the survey tell of installed packages with plugins."""
    take = subject.take_survey
    found = replace(take([]), installed_plugins=plugins)
    monkeypatch.setattr(subject, "take_survey", lambda _: found)


def test_plan_of_a_suite() -> None:
    study = set_up(replace(SMOKE, axes={"depth": [1, 2]}, blocks=7))
    plan = study.plan
    assert [(c.model, c.execution, c.depth) for c in plan.cases] == [
        ("serial", "loop", 1),
        ("serial", "loop", 2),
        ("paraformer", "loop", 1),
        ("paraformer", "loop", 2),
        ("paraformer", "stacked", 1),
        ("paraformer", "stacked", 2),
    ]
    assert {case.runtime for case in plan.cases} == {"eager"}
    assert set(plan.skipped.values()) == {"runtime graph needs cuda, this is cpu"}
    assert len(plan.skipped) == 6
    assert (plan.device, plan.blocks, plan.protocol.blocks, plan.budget_seconds) == (
        *("cpu", 7, 7),
        None,
    )


@pytest.mark.parametrize(
    ("settings", "blocks"),
    [
        (SMOKE, 3),
        (replace(SMOKE, budget_seconds=60.0), MOST_BLOCKS),
        (replace(SMOKE, budget_seconds=60.0, blocks=5), 5),
        # Where every case is skipped, a budget would be filled with nothing.
        (replace(SMOKE, budget_seconds=60.0, axes={"runtimes": ["graph"]}), 3),
    ],
)
def test_budget_takes_the_place_of_the_number_of_blocks(settings: Settings, blocks: int) -> None:
    assert set_up(settings).plan.blocks == blocks


@pytest.mark.parametrize(
    ("suite", "device", "name"),
    [("smoke", "cpu", "smoke-cpu"), ("smoke", "cuda:1", "smoke-cuda1")],
)
def test_new_run_gets_a_folder_of_its_own(suite: str, device: str, name: str) -> None:
    folder = set_up(Settings(suite=suite, device=device)).folder
    assert re.fullmatch(rf"reports/\d{{8}}-\d{{6}}-{name}", str(folder))
    assert not folder.parent.exists()


def test_name_of_a_suite_is_no_path(files, tmp_path: Path) -> None:
    text = "name = '../a b/ü*'\n[[grid]]\nmodels = 'serial'\ndepth = 1\n"
    suite = files.write(tmp_path / "x.toml", text)
    folder = set_up(Settings(suite=str(suite), device="cpu")).folder
    assert folder.name.endswith("-..-a-b-ü--cpu")
    assert folder.parent == Path("reports")


def test_run_json_holds_what_a_reader_needs() -> None:
    settings = replace(SMOKE, out=Path("run"), command=("python", "-m", "paraformer_bench"))
    study = set_up(settings)
    with open_store(study, settings):
        pass
    info = read_run(Path("run")).info
    promised = {"suite", "command", "environment", "versions", "commit", "started", "finished"}
    assert promised <= set(json.loads(Path("run/run.json").read_text()))
    assert info.suite == study.suite.table()
    assert info.protocol == info.suite["protocol"]
    assert info.command == ["python", "-m", "paraformer_bench"]
    assert (info.device, info.finished, info.plugins) == ("cpu", None, [])


def test_new_run_takes_over_the_calibration_of_its_device(
    make_calibration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    calibration = make_calibration()
    CALIBRATIONS.keep(calibration)
    CALIBRATIONS.keep(structs.replace(calibration, torch="2.6.0"))
    for number, (device, entry) in enumerate({"cpu": calibration, "cuda:0": None}.items()):
        settings = replace(SMOKE, out=Path(f"run{number}"), device=device)
        study = set_up(settings)
        assert (study.calibration, study.warnings) == (entry, ())
        with open_store(study, settings):
            pass
        assert read_run(settings.out).info.calibration == entry


def test_resumed_run_is_the_same_study() -> None:
    settings = replace(SMOKE, out=Path("run"), axes={"depth": [1, 2]})
    first = set_up(settings)
    with open_store(first, settings):
        pass
    again = Settings(out=Path("run"), resume=True)
    second = set_up(again)
    assert second.plan == first.plan
    assert second.folder == first.folder
    with open_store(second, again) as store:
        assert store.done == set()
    with pytest.raises(UsageError, match="suite and cases changed since it was begun"):
        set_up(replace(again, axes={"depth": [1, 4]}))


def opened(settings: Settings) -> None:
    with open_store(set_up(settings), settings):
        pass


@pytest.mark.parametrize(
    ("asked", "blocks"),
    [
        ({}, 3),
        ({"blocks": 7}, 7),
        ({"budget_seconds": 60.0}, None),
        ({"budget_seconds": 60.0, "blocks": 7}, 7),
    ],
)
def test_shard_is_noted_and_gone_on_with(asked: dict[str, float], blocks: int | None) -> None:
    settings = replace(SMOKE, out=Path("run"), shard=(2, 5), **asked)
    opened(settings)
    expected = Shard(2, 5, blocks)
    assert set_up(settings).plan.shard == expected
    assert read_run(Path("run")).info.shard == expected
    # More blocks later do not change whose the first ones are.
    for again in (Settings(), Settings(blocks=20), Settings(shard=(2, 5), budget_seconds=9.0)):
        study = set_up(replace(again, out=Path("run"), resume=True))
        assert study.plan.shard == expected


def test_shard_is_not_resumed_as_another() -> None:
    opened(replace(SMOKE, out=Path("part"), shard=(2, 5)))
    opened(replace(SMOKE, out=Path("whole")))
    for folder, shard, was in (
        ("part", (3, 5), "shard 2 of 5"),
        ("part", (2, 4), "shard 2 of 5"),
        ("whole", (2, 5), "a whole run"),
    ):
        words = f"cannot resume {folder} as shard {shard[0]} of {shard[1]}: it was begun as {was}"
        with pytest.raises(UsageError, match=f"^{words}$"):
            set_up(Settings(out=Path(folder), resume=True, shard=shard))


def test_shards_that_start_together_have_folders_of_their_own() -> None:
    names = [set_up(replace(SMOKE, shard=(k, 12))).folder.name for k in range(1, 13)]
    ends = [f"-smoke-cpu-shard{k}of12" for k in range(1, 13)]
    assert [name.endswith(end) for name, end in zip(names, ends, strict=True)] == [True] * 12


def test_unfinished_shard_is_found_by_its_number() -> None:
    for number in (1, 2, 3):
        settings = replace(SMOKE, shard=(number, 3), out=Path(f"reports/{number}-shard"))
        opened(settings)
    assert set_up(Settings(resume=True)).folder == Path("reports/3-shard")
    assert set_up(Settings(resume=True, shard=(2, 3))).folder == Path("reports/2-shard")
    with pytest.raises(UsageError, match="holds no unfinished shard 2 of 4; name it"):
        set_up(Settings(resume=True, shard=(2, 4)))


@pytest.mark.parametrize("shard", [{}, {"number": 6, "of": 5, "blocks": 3}, [2, 5], "2/5"])
def test_shard_that_makes_no_sense_is_not_resumed(shard: object) -> None:
    settings = replace(SMOKE, out=Path("run"))
    opened(settings)
    path = Path("run/run.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shard": shard}))
    with pytest.raises(UsageError, match=r"cannot resume run: run\.json: shard makes no sense: "):
        set_up(replace(settings, resume=True))


def test_a_run_from_before_there_were_energy_windows_is_resumed() -> None:
    """Its identity was made of a protocol without the key."""
    settings = replace(SMOKE, out=Path("run"))
    study = set_up(settings)
    suite = study.suite.table()
    protocol = {
        "rounds": 3,
        "seconds_per_case": 0.06,
        "target_relative_error": 0.05,
        "timeout_seconds": 60.0,
    }
    assert suite["protocol"] == {"blocks": 3} | protocol
    older = json.dumps(suite | {"protocol": protocol}, sort_keys=True).encode()
    with open_store(study, settings) as store:
        assert store.info.identity["suite"] == hashlib.sha256(older).hexdigest()
    assert set_up(Settings(out=Path("run"), resume=True)).resumed


def test_what_a_study_is_known_by_is_as_it_was(files, tmp_path: Path) -> None:
    """Digests that the version before cases had open axes has written of this suite."""
    text = """
    name = "old one"
    [claim]
    margin = 0.2
    [protocol]
    blocks = 3
    rounds = 3
    seconds_per_case = 0.8
    [[grid]]
    models = ["serial", "paraformer"]
    executions = ["loop", "stacked"]
    runtimes = ["eager", "graph"]
    depth = [2, 4]
    tokens = 17
    width = [64, 128]
    branch_depth = [1, 2]
    [[grid]]
    models = "serial"
    depth = 1
    image = 32
    heads = 2
    width = 64
    batch = 2
    """
    suite = files.write(tmp_path / "old.toml", text)
    own = identity(set_up(Settings(suite=str(suite), device="cpu")))
    assert own["suite"] == "180d8078f1eaee2014cbf34d8cb3a05fdc65562152828054d170a851da8e9a71"
    assert own["cases"] == "6f75f400fcb423f68bb3113cbb6feac3e026ae0a6205219092997292904c504f"


def test_a_run_is_not_resumed_with_other_energy_windows(files, tmp_path: Path) -> None:
    text = "[protocol]\n{}\n[[grid]]\nmodels = 'serial'\ndepth = 1\n"
    plain, energy = (
        files.write(tmp_path / f"{name}.toml", f"name = 'x'\n{text.format(line)}")
        for name, line in (("plain", ""), ("energy", "energy_seconds = 2"))
    )
    settings = Settings(suite=str(energy), device="cpu", out=Path("run"))
    with open_store(set_up(settings), settings):
        pass
    again = Settings(out=Path("run"), resume=True)
    assert set_up(again).plan.protocol.energy_seconds == 2
    with pytest.raises(UsageError, match="suite changed since it was begun"):
        set_up(replace(again, suite=str(plain)))


def test_resumed_run_has_the_same_installed_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"theirs": "1.0"})
    settings = replace(SMOKE, out=Path("run"))
    with open_store(set_up(settings), settings):
        pass
    again = Settings(out=Path("run"), resume=True)
    assert set_up(again).resumed
    for other in ({"theirs": "1.1"}, {}, {"theirs": "1.0", "more": "2"}):
        install(monkeypatch, other)
        with pytest.raises(UsageError, match=": installed plugins changed since it was begun"):
            set_up(again)


@pytest.mark.parametrize("installed", [{}, {"theirs": "1.0"}])
def test_older_run_is_resumed_where_no_plugin_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]
) -> None:
    settings = replace(SMOKE, out=Path("run"))
    with open_store(set_up(settings), settings) as store:
        identity = dict(store.info.identity)
        del identity["installed_plugins"]
        store.update(identity=identity)
    install(monkeypatch, installed)
    again = Settings(out=Path("run"), resume=True)
    if installed:
        with pytest.raises(UsageError, match="installed plugins changed"):
            set_up(again)
    else:
        assert set_up(again).resumed


def test_commit_outside_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(child, "ROOT", tmp_path)
    assert commit() is None
    (tmp_path / ".git").mkdir()  # there, but broken
    assert commit() is None


def test_run_of_a_cluster_is_bound_to_a_kind_of_machine(survey_of: Callable[..., Survey]) -> None:
    cluster = Cluster(survey_of())
    settings = replace(SMOKE, device=None, out=Path("run"))
    with open_store(set_up(settings, cluster), settings) as store:
        assert store.info.identity["machine"]
    again = Settings(out=Path("run"), resume=True)
    assert set_up(again, cluster).resumed
    assert cluster.asked == [((), None), ((), "cpu")]
    assert set_up(again).resumed, "this machine is of the same kind"
    with pytest.raises(UsageError, match=": machine changed since it was begun"):
        set_up(again, Cluster(survey_of(), "Xeon"))


def test_run_of_one_machine_does_not_go_on_elsewhere(survey_of: Callable[..., Survey]) -> None:
    settings = replace(SMOKE, out=Path("run"))
    with open_store(set_up(settings), settings) as store:
        assert "machine" not in store.info.identity
    with pytest.raises(UsageError, match="cannot resume run on a cluster: it was begun without"):
        set_up(Settings(out=Path("run"), resume=True), Cluster(survey_of()))


def test_a_merged_run_is_not_resumed() -> None:
    settings = replace(SMOKE, out=Path("run"))
    with open_store(set_up(settings), settings) as store:
        store.update(parts=[])
    with pytest.raises(
        UsageError,
        match=r"^cannot resume run: it was merged: resume its shards, and merge them again$",
    ):
        set_up(Settings(out=Path("run"), resume=True))
