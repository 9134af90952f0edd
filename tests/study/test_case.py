from __future__ import annotations

import re
from itertools import product

import pytest

from paraformer_bench.study.case import (
    LIMITS,
    Case,
    ModelSpec,
    default_heads,
    image_for_tokens,
    tokens_of,
)
from paraformer_bench.study.errors import UsageError

BASE = Case.of(
    model="serial",
    execution="loop",
    runtime="eager",
    depth=4,
    width=192,
    batch=1,
    image=224,
    patch=16,
    heads=3,
    branch_depth=1,
    dtype="float32",
    device="cpu",
)


def test_ids_are_stable() -> None:
    """Run folders are compared across versions by these names."""
    assert BASE.id == "serial-loop-eager-d4-w192-b1-t197-float32-cpu-inference-whole"
    assert BASE.curve_id == "serial-loop-eager-w192-b1-t197-float32-cpu-inference-whole"
    odd = BASE.replace(
        model="paraformer",
        execution="stacked",
        runtime="graph",
        patch=32,
        heads=6,
        branch_depth=2,
        batch=128,
        device="cuda:1",
        scope="trunk",
    )
    assert odd.id == (
        "paraformer-stacked-graph-d4-w192-b128-t50-p32-h6-k2-float32-cuda1-inference-trunk"
    )
    assert odd.group == "w192-b128-t50-p32-h6-float32-cuda1-inference-trunk"


def test_the_number_of_devices_is_part_of_the_name_where_it_is_not_one() -> None:
    spread = BASE.replace(model="paraformer", execution="sharded", devices=4)
    assert spread.id == ("paraformer-sharded-eager-n4-d4-w192-b1-t197-float32-cpu-inference-whole")
    assert spread.curve_id == (
        "paraformer-sharded-eager-n4-w192-b1-t197-float32-cpu-inference-whole"
    )
    assert spread.group == spread.regime.name == BASE.regime.name  # measured side by side
    old = BASE.flat()
    del old["devices"]  # as older runs wrote it
    assert Case.of(**old) == BASE
    with pytest.raises(UsageError, match="devices must be a whole number"):
        spread.replace(devices=0).check()


def test_ids_are_unique_and_fit_for_file_names() -> None:
    axes = {
        "model": ["serial", "paraformer", "net_2"],
        "execution": ["loop", "stacked"],
        "runtime": ["eager", "graph"],
        "depth": [1, 2, 12],
        "width": [64, 128],
        "batch": [1, 11],
        "image": [32, 64, 224],
        "patch": [16, 32],
        "heads": [1, 2],
        "branch_depth": [1, 2],
        "dtype": ["float32", "bfloat16"],
        "device": ["cpu", "cuda:0", "cuda:10"],
        "devices": [1, 10],
        "scope": ["whole", "trunk"],
    }
    cases = [Case.of(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    ids = {case.id for case in cases}
    assert len(ids) == len(cases)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) and len(name) < 255 for name in ids)


def test_curve_differs_in_depth_alone() -> None:
    assert BASE.replace(depth=9).curve_id == BASE.curve_id
    assert BASE.replace(depth=9).id != BASE.id
    other = {
        "model": "x",
        "execution": "x",
        "runtime": "x",
        "width": 384,
        "batch": 2,
        "image": 112,
        "patch": 8,
        "heads": 6,
        "branch_depth": 2,
        "dtype": "float64",
        "device": "cuda:0",
        "mode": "train",
        "scope": "trunk",
        "devices": 2,
    }
    assert set(other) == set(BASE.flat()) - {"depth", "tokens"}
    for name, value in other.items():
        assert BASE.replace(**{name: value}).curve_id != BASE.curve_id, name


def test_group_holds_what_is_compared_with_each_other() -> None:
    together = {"model": "x", "execution": "x", "runtime": "x", "depth": 9, "branch_depth": 3}
    for name, value in together.items():
        assert BASE.replace(**{name: value}).group == BASE.group
    for name, value in {"width": 384, "batch": 2, "dtype": "float64", "scope": "trunk"}.items():
        assert BASE.replace(**{name: value}).group != BASE.group


def test_json_round_trip() -> None:
    data = BASE.flat()
    assert data["tokens"] == 197
    assert Case.of(**data) == BASE
    assert Case.of(**(data | {"of_a_newer_version": "text"})) == BASE


def test_spec() -> None:
    spec = BASE.replace(branch_depth=2).spec
    assert spec == ModelSpec(depth=4, width=192, heads=3, image=224, patch=16, branch_depth=2)
    assert (spec.branches, spec.tokens, spec.hidden) == (2, 197, 768)


def test_check_returns_the_case() -> None:
    assert BASE.check() is BASE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, "depth must be a whole number from 1 to 16384, not 0"),
        ({"batch": -1}, "batch must be"),
        ({"width": True}, "width must be"),
        ({"patch": 16.0}, "patch must be"),
        ({"depth": LIMITS["depth"] + 1}, "depth must be"),
        ({"dtype": "float8"}, "unknown dtype 'float8'"),
        ({"mode": "trian"}, "unknown mode 'trian': did you mean 'train'?"),
        ({"scope": "head"}, "unknown scope 'head'"),
        ({"heads": 5}, "width 192 is not divisible by heads 5"),
        ({"image": 230}, "image 230 is not divisible by patch 16"),
        ({"branch_depth": 3}, "depth 4 is not divisible by branch_depth 3"),
    ],
)
def test_check_names_the_field_that_cannot_be(change: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        BASE.replace(**change).check()


@pytest.mark.parametrize("patch", [1, 16, 32])
@pytest.mark.parametrize("side", [1, 2, 14])
def test_image_for_tokens_inverts_tokens_of(side: int, patch: int) -> None:
    assert image_for_tokens(tokens_of(side * patch, patch), patch) == side * patch


@pytest.mark.parametrize(
    ("tokens", "near"), [(1, "2 and 5"), (18, "17 and 26"), (196, "170 and 197")]
)
def test_tokens_without_a_square_image(tokens: int, near: str) -> None:
    with pytest.raises(UsageError, match=f"nearest are {near}"):
        image_for_tokens(tokens, 16)


def test_default_heads() -> None:
    assert [default_heads(width) for width in (64, 192, 768)] == [1, 3, 12]
    for width, near in (
        (1, "try 64,"),
        (63, "try 64,"),
        (100, "try 64 or 128"),
        (200, "192 or 256"),
    ):
        with pytest.raises(UsageError, match=near):
            default_heads(width)


def test_axes_are_open() -> None:
    """A whole number that is no field of ours is an axis of the model: it tells cases apart."""
    mixture = BASE.replace(experts=4)
    assert mixture.id == "serial-loop-eager-d4-w192-b1-t197-experts4-float32-cpu-inference-whole"
    assert mixture != BASE
    assert mixture.group != BASE.group
    assert Case.of(**mixture.flat()) == mixture
    assert mixture.spec.experts == 4
    assert mixture.regime.words["experts"] == "experts 4"
    with pytest.raises(AttributeError, match="the model declares no axis 'experts'"):
        BASE.spec.experts  # noqa: B018 (reading it is the test)
    with pytest.raises(UsageError, match="experts must be a whole number from 1 to 1048576"):
        BASE.replace(experts=0).check()


def test_a_net_without_images_has_a_sequence_of_its_own() -> None:
    fields = BASE.flat()
    for name in ("image", "patch", "heads"):
        del fields[name]
    case = Case.of(**(fields | {"tokens": 1024}))
    assert (case.regime.tokens, case.check()) == (1024, case)
    assert case.id == "serial-loop-eager-d4-w192-b1-t1024-float32-cpu-inference-whole"
    assert Case.of(**case.flat()) == case
    del fields["tokens"]
    assert "-t" not in Case.of(**fields).id


def test_order_of_the_curves_of_a_group() -> None:
    """The serial net is what the others are compared with: it comes first."""
    who = [("serial", 1), ("paraformer", 2), ("paraformer", 1), ("aardvark", 1)]
    curves = [BASE.replace(model=model, branch_depth=k).curve for model, k in who]
    told = [curve.label for curve in sorted(curves, key=lambda curve: curve.sort_key)]
    assert told == [
        "serial loop, eager",
        "aardvark loop, eager",
        "paraformer loop, eager",
        "paraformer loop, eager, branch depth 2",
    ]
