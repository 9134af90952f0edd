from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from paraformer_bench.study import suite as suite_module
from paraformer_bench.study.case import Case
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.job import Protocol
from paraformer_bench.study.registry import EXECUTIONS, MODELS, RUNTIMES
from paraformer_bench.study.suite import (
    Claim,
    Grid,
    Suite,
    expand,
    known_suites,
    load_suite,
    override,
    parse_suite,
    skip_reason,
)
from paraformer_bench.study.survey import Survey

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

EVERYTHING = """
name = "everything"

[claim]
margin = 0.05
confidence = 0.99

[protocol]
blocks = 12
rounds = 4
seconds_per_case = 2
target_relative_error = 0.02
timeout_seconds = 30.5
energy_seconds = 2.5

[[grid]]
models = ["serial", "paraformer"]
executions = ["loop", "stacked"]
runtimes = ["eager", "graph"]
depth = [1, 2, 4]
width = [64, 128]
batch = 8
tokens = [17, 197]
patch = 16
heads = [1, 2]
branch_depth = 1
dtype = "bfloat16"
mode = "inference"
scope = ["whole", "trunk"]

[[grid]]
models = "serial"
depth = 3
"""


def parse(text: str) -> Suite:
    return parse_suite(tomllib.loads(text), "stem")


@pytest.fixture
def survey(survey_of: Callable[..., Survey]) -> Survey:
    return survey_of(gpus=1)


def test_every_key_is_read() -> None:
    suite = parse(EVERYTHING)
    assert suite.name == "everything"
    assert suite.claim == Claim(margin=0.05, confidence=0.99)
    assert suite.protocol == Protocol(12, 4, 2.0, 0.02, 30.5, 2.5)
    assert suite.grids[0] == Grid(
        models=("serial", "paraformer"),
        depth=(1, 2, 4),
        executions=("loop", "stacked"),
        runtimes=("eager", "graph"),
        batch=(8,),
        dtype=("bfloat16",),
        mode=("inference",),
        scope=("whole", "trunk"),
        axes=(
            ("width", (64, 128)),
            ("patch", (16,)),
            ("branch_depth", (1,)),
            ("tokens", (17, 197)),
            ("heads", (1, 2)),
        ),
    )
    assert suite.grids[1] == Grid(models=("serial",), depth=(3,))


def test_defaults() -> None:
    suite = parse('[[grid]]\nmodels = "serial"\ndepth = 3\n')
    assert suite.name == "stem"
    assert suite.claim == Claim(margin=0.10, confidence=0.95)
    assert suite.protocol == Protocol()


def test_round_trip_through_json() -> None:
    suite = parse(EVERYTHING)
    data = suite.table()
    assert parse_suite(data, "") == suite
    assert set(data) == {"name", "claim", "protocol", "grid"}


def test_a_suite_without_energy_windows_is_written_as_before_there_were_any() -> None:
    """Else runs of older versions could not be resumed, nor new ones be read by them."""
    for line in ("energy_seconds = 0\n", ""):
        suite = parse(f"[protocol]\n{line}[[grid]]\nmodels = 'serial'\ndepth = 1\n")
        data = suite.table()
        assert set(data["protocol"]) == {
            *("blocks", "rounds", "seconds_per_case"),
            *("target_relative_error", "timeout_seconds"),
        }
        assert parse_suite(data, "") == suite
        assert suite.protocol.energy_seconds == 0
    assert parse(EVERYTHING).table()["protocol"]["energy_seconds"] == 2.5


def test_steps_of_a_case() -> None:
    assert Protocol(rounds=3).steps == 4
    assert Protocol(rounds=3, energy_seconds=2.0).steps == 5


def test_values_given_twice_count_once() -> None:
    suite = parse('[[grid]]\nmodels = ["serial", "serial"]\ndepth = [2, 1, 2]\n')
    assert (suite.grids[0].models, suite.grids[0].depth) == (("serial",), (2, 1))


def test_own_suites_are_valid_and_speak_of_what_there_is() -> None:
    suites = known_suites()
    assert "smoke" in suites
    for name in suites:
        suite = load_suite(name)
        assert suite.name == name
        assert parse_suite(suite.table(), "") == suite
        for grid in suite.grids:
            assert set(grid.models) <= set(MODELS.names())
            assert set(grid.executions) <= set(EXECUTIONS.names())
            assert set(grid.runtimes) <= set(RUNTIMES.names())


def test_suites_of_the_checkout_come_before_those_of_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, names in (("checkout", "ab"), ("wheel", "bc")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.toml").touch()
    folders = [tmp_path / "checkout", tmp_path / "wheel", tmp_path / "absent"]
    monkeypatch.setattr(suite_module, "suite_folders", lambda: folders)
    found = {name: path.parent.name for name, path in known_suites().items()}
    assert found == {"a": "checkout", "b": "checkout", "c": "wheel"}


def test_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[claim]\nmargin = 7000\n[[grid]]\nmodels = 'serial'\ndepth = 1\n")
    with pytest.raises(UsageError, match=f"^suite {re.escape(str(path))}: margin must be above"):
        load_suite(str(path))


def test_expand_pairs_models_with_what_they_can_run(survey: Survey) -> None:
    suite = parse(
        '[[grid]]\nmodels = ["serial", "paraformer"]\nexecutions = ["loop", "stacked"]\n'
        "depth = [2, 4]\nwidth = 128\nbranch_depth = [1, 2]\n"
    )
    cases = expand(suite, survey, "cpu")
    found = [(c.model, c.execution, c.depth, c.spec.branch_depth) for c in cases]
    # A model without branches has no branch depth either.
    assert found == [
        ("serial", "loop", 2, 1),
        ("serial", "loop", 4, 1),
        ("paraformer", "loop", 2, 1),
        ("paraformer", "loop", 4, 1),
        ("paraformer", "loop", 2, 2),
        ("paraformer", "loop", 4, 2),
        ("paraformer", "stacked", 2, 1),
        ("paraformer", "stacked", 4, 1),
        ("paraformer", "stacked", 2, 2),
        ("paraformer", "stacked", 4, 2),
    ]
    assert {(c.spec.image, c.spec.patch, c.spec.heads, c.device) for c in cases} == {
        (224, 16, 2, "cpu")
    }


def test_expand_gives_every_field_its_own_axis(survey: Survey) -> None:
    """A mistake in the order of the axes would put one value in the place of another."""
    axes: dict[str, Any] = {
        "depth": 6,
        "width": 35,
        "batch": 3,
        "image": 44,
        "patch": 11,
        "heads": 7,
        "branch_depth": 2,
        "dtype": "float16",
        "scope": "trunk",
        "devices": 5,
    }
    survey.executions["loop"] = structs.replace(survey.executions["loop"], spread="ranks")
    lines = "".join(f"{key} = {value!r}\n" for key, value in axes.items())
    suite = parse(f'[[grid]]\nmodels = "paraformer"\nruntimes = "graph"\n{lines}')
    [case] = expand(suite, survey, "cuda:0")
    assert case == Case.of(
        model="paraformer",
        execution="loop",
        runtime="graph",
        device="cuda:0",
        mode="inference",
        **axes,
    )


def test_devices_are_for_executions_that_can_use_several(survey: Survey) -> None:
    text = (
        '[[grid]]\nmodels = ["serial", "paraformer"]\nexecutions = ["loop", "stacked"]\n'
        "depth = 2\nwidth = 64\n"
    )
    survey.executions["stacked"] = structs.replace(survey.executions["stacked"], spread="ranks")
    suite = parse(text + "devices = [1, 2, 8]\n")
    found = [(c.model, c.execution, c.devices) for c in expand(suite, survey, "cpu")]
    assert found == [
        ("serial", "loop", 1),
        ("paraformer", "loop", 1),
        ("paraformer", "stacked", 1),
        ("paraformer", "stacked", 2),
        ("paraformer", "stacked", 8),
    ]
    # What runs of older versions noted must not change, or they could not be resumed.
    assert "devices" not in parse(text).table()["grid"][0]
    assert [c.devices for c in expand(parse(text), survey, "cpu")] == [1, 1, 1]
    assert override(parse(text), {"devices": [2]}).grids[0].devices == (2,)


def test_grids_that_overlap_measure_a_case_once(survey: Survey) -> None:
    grid = "[[grid]]\nmodels = 'serial'\ndepth = {}\nwidth = 64\n"
    cases = expand(parse(grid.format("[1, 2]") + grid.format("[2, 4]")), survey, "cpu")
    assert [case.depth for case in cases] == [1, 2, 4]


def test_size_of_a_product(survey: Survey) -> None:
    cases = expand(parse(EVERYTHING), survey, "cpu")
    # Three pairs of model and execution; the second grid adds one case.
    assert len(cases) == len(set(cases)) == 3 * 2 * 3 * 2 * 2 * 2 * 2 + 1
    assert len({case.id for case in cases}) == len(cases)


def test_override_replaces_an_axis_of_every_grid() -> None:
    suite = parse(EVERYTHING)
    assert override(suite, {}) is suite
    changed = override(suite, {"depth": [7], "dtype": ["float32"]})
    assert changed.grids == tuple(
        replace(grid, depth=(7,), dtype=("float32",)) for grid in suite.grids
    )
    assert (changed.claim, changed.protocol) == (suite.claim, suite.protocol)
    assert suite.grids[0].depth == (1, 2, 4)


def test_override_is_checked() -> None:
    with pytest.raises(UsageError, match="width must be a whole number"):
        override(parse(EVERYTHING), {"width": [0]})


def test_override_merges_grids_that_have_become_equal() -> None:
    grid = "[[grid]]\nmodels = 'serial'\ndepth = {}\n"
    suite = override(parse(grid.format(1) + grid.format(2)), {"depth": [3]})
    assert len(suite.grids) == 1


def test_skip_reason(survey: Survey) -> None:
    case = Case.of(
        model="serial",
        execution="loop",
        runtime="graph",
        depth=1,
        width=64,
        batch=1,
        image=64,
        patch=16,
        heads=1,
        branch_depth=1,
        dtype="float32",
        device="cpu",
    )
    assert skip_reason(case, survey) == "runtime graph needs cuda, this is cpu"
    assert skip_reason(case.replace(device="cuda:0"), survey) is None
    assert skip_reason(case.replace(runtime="eager"), survey) is None
    survey.executions["loop"] = structs.replace(survey.executions["loop"], devices=("cuda",))
    reason = skip_reason(case.replace(runtime="eager"), survey)
    assert reason == "execution loop needs cuda, this is cpu"


def test_what_cannot_be_spread_over_devices_is_skipped(survey_of: Callable[..., Survey]) -> None:
    survey = survey_of(gpus=2)
    case = Case.of(
        model="paraformer",
        execution="stacked",
        runtime="eager",
        depth=1,
        width=64,
        batch=1,
        image=64,
        patch=16,
        heads=1,
        branch_depth=1,
        dtype="float32",
        device="cuda:0",
    )
    two, four = case.replace(devices=2), case.replace(devices=4)
    assert skip_reason(two, survey) is None
    assert skip_reason(four, survey) == "4 devices are asked for, there are 2"
    assert skip_reason(four.replace(device="cpu"), survey) is None  # they share its cores
    assert skip_reason(two.replace(device="cuda:1"), survey) == (
        "2 devices begin at cuda:0, this is cuda:1"
    )
    assert skip_reason(two.replace(runtime="graph"), survey) == (
        "runtime graph is measured on one device alone, not on 2"
    )
    assert skip_reason(two.replace(mode="train"), survey) == (
        "training is measured on one device alone, not on 2"
    )
    assert skip_reason(case.replace(runtime="graph", mode="train"), survey) is None


def test_an_axis_that_a_model_declares_is_an_axis_of_the_grid(survey: Survey) -> None:
    own = replace(survey.models["serial"], name="mixture", axes=("width", "experts"))
    survey.models["mixture"] = own
    text = '[[grid]]\nmodels = ["serial", "mixture"]\ndepth = 2\nwidth = 64\n'
    cases = expand(parse(text + "experts = [4, 8]\n"), survey, "cpu")
    # It is nothing to a model that does not have it; neither are images to one without.
    assert [(c.model, c.regime.get("experts"), c.regime.get("image")) for c in cases] == [
        ("serial", None, 224),
        ("mixture", 4, None),
        ("mixture", 8, None),
    ]
    assert [case.spec.experts for case in cases[1:]] == [4, 8]
    assert len({case.id for case in cases}) == 3
    with pytest.raises(UsageError, match="must give values of the axis experts of model mixture"):
        expand(parse(text), survey, "cpu")
    assert parse_suite(parse(text + "experts = 4\n").table(), "").grids[0].axes[-1] == (
        "experts",
        (4,),
    )


def test_an_axis_that_no_model_of_the_grid_has_is_refused_by_name(survey: Survey) -> None:
    text = '[[grid]]\nmodels = "serial"\ndepth = 2\n'
    with pytest.raises(
        UsageError, match=r"unknown key in \[\[grid\]\] 'widht': did you mean 'width'"
    ):
        expand(parse(text + "widht = 64\n"), survey, "cpu")
    with pytest.raises(UsageError, match=r"unknown key .* 'experts': .*known: .*branch_depth"):
        expand(parse(text + "experts = 64\n"), survey, "cpu")
    with pytest.raises(UsageError, match=r"unknown key .* 'colour'"):
        parse(text + "colour = 'red'\n")
    with pytest.raises(UsageError, match="'model': did you mean 'models'"):
        parse(text + "model = 'serial'\n")
