"""When a sweep measures the ceilings, and what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paraformer_bench.clusters.shard import Shard
from paraformer_bench.study.calibration import place_of
from paraformer_bench.study.ceilings import Ceilings, Copy, Product
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.machine_file import CEILINGS
from paraformer_bench.study.run_folder import read_run
from paraformer_bench.sweep import probe as subject
from paraformer_bench.sweep.setup import open_store, set_up
from paraformer_bench.sweep.study import Settings, Study


@pytest.fixture
def study(
    survey_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Study]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda _: survey_of())
    settings = Settings(suite="smoke", out=tmp_path / "run")
    return lambda: set_up(settings)


def made(study: Study, dtypes: tuple[str, ...] = ("float32",), age: float = 0.0) -> Ceilings:
    host, device, name, torch = place_of(study.survey, "cpu")
    return Ceilings(
        date=(datetime.now(timezone.utc) - timedelta(days=age)).isoformat(),
        host=host,
        device=device,
        device_name=name,
        torch=torch,
        package="0",
        copies=(Copy(2**20, 1e11),),
        products=tuple(Product(dtype, 2**20, 1e-5) for dtype in sorted(dtypes)),
        launch_seconds=2e-6,
        node_seconds=None,
        sync_seconds=0.0,
    )


@pytest.fixture
def note(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, Any], list[Any], str]]:
    """Note ceilings in a new run; return ``run.json``, what was probed, and what was said."""

    def note(study: Study, answer: Any = None) -> tuple[dict[str, Any], list[Any], str]:
        asked: list[Any] = []

        def probe(_: object, device: str, dtypes: list[str], __: object) -> Ceilings:
            asked.append((device, list(dtypes)))
            if isinstance(answer, UsageError):
                raise answer
            return answer or made(study, tuple(dtypes))

        monkeypatch.setattr(subject, "probe", probe)
        said = io.StringIO()
        with open_store(study, Settings()) as store:
            subject.note_ceilings(study, store, Console(file=said, width=200))
        return read_run(study.folder).info, asked, said.getvalue()

    return note


def test_without_any_they_are_measured_kept_and_noted(study, note) -> None:
    info, asked, said = note(study())
    assert asked == [("cpu", ["float32"])]
    assert "measuring the ceilings of cpu" in said
    kept = study().ceilings
    assert kept is not None
    assert Ceilings.from_json(info["ceilings"]) == kept
    assert info["ceilings_reason"] is None


def test_fresh_ones_are_taken(study, note) -> None:
    kept = made(study(), age=6.9)
    assert CEILINGS.keep(kept) == []
    info, asked, said = note(study())
    assert (asked, said) == ([], "")
    assert Ceilings.from_json(info["ceilings"]) == kept


@pytest.mark.parametrize(("dtypes", "age"), [(("float32",), 7.1), (("bfloat16",), 0.0)])
def test_stale_or_incomplete_ones_are_measured_again(study, note, dtypes, age) -> None:
    CEILINGS.keep(made(study(), dtypes, age))
    info, asked, _ = note(study())
    # What was known of another precision is measured along, or it would be lost.
    assert asked == [("cpu", sorted({"float32", *dtypes}))]
    assert {one["dtype"] for one in info["ceilings"]["products"]} == {"float32", *dtypes}


def test_disturbed_ones_serve_their_run_and_are_measured_again(study, note) -> None:
    first = study()
    disturbed = replace(made(first), flags=("cpu_busy",))
    info, _, said = note(first, disturbed)
    assert info["ceilings"]["flags"] == ["cpu_busy"]
    assert "warning: the ceilings are not to be trusted and will be measured again" in said
    assert study().ceilings == disturbed
    assert subject.needed(replace(first, ceilings=disturbed))


def test_those_of_another_device_do_not_count(study, note) -> None:
    CEILINGS.keep(replace(made(study()), torch="2.6.0"))
    assert note(study())[1] == [("cpu", ["float32"])]


def test_a_probe_that_fails_is_a_reason_and_no_end(study, note) -> None:
    info, _, said = note(study(), UsageError("cannot measure the ceilings of cpu: it died"))
    assert info["ceilings"] is None
    assert info["ceilings_reason"] == "cannot measure the ceilings of cpu: it died"
    assert "warning: cannot measure the ceilings of cpu: it died" in said


def test_a_resumed_run_keeps_its_own(study, note) -> None:
    first = study()
    info, _, _ = note(first)
    assert not subject.needed(replace(first, resumed=info, ceilings=None))
    assert subject.needed(replace(first, resumed=info | {"ceilings": None}, ceilings=None))


def test_a_precision_that_is_not_there_is_not_asked_for_again(study) -> None:
    first = study()
    kept = replace(made(first, ("bfloat16",)), missing=("float32",))
    assert not subject.needed(replace(first, ceilings=kept))


def test_a_complete_run_is_not_probed(study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "probe", lambda *_: pytest.fail("it was probed"))
    first = study()
    with open_store(first, Settings()) as store:
        for case in first.plan.cases:
            store.done |= {(case.id, block) for block in range(first.plan.blocks)}
        subject.note_ceilings(first, store, Console(file=io.StringIO()))
    assert read_run(first.folder).info["ceilings"] is None


def test_where_nothing_is_measured_nothing_is_probed(study) -> None:
    first = study()
    assert not subject.needed(replace(first, plan=replace(first.plan, cases=[])))


def test_a_shard_probes_if_something_fell_to_it(study) -> None:
    first = study()
    blocks = first.plan.blocks
    for number in (blocks, blocks + 1):  # one group of cases: the last shard is empty
        shard = Shard(number, blocks + 1, blocks)
        part = replace(first, plan=replace(first.plan, shard=shard))
        assert subject.needed(part) == (number == blocks)


def test_what_the_child_says_becomes_ceilings(study, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study()
    truth = made(first, ("bfloat16", "float32"))
    data = truth.to_json()
    events = [
        {"event": "measured", "fields": {k: data[k] for k in ("launch_seconds", "node_seconds")}},
        {"event": "measured", "fields": {k: data[k] for k in ("sync_seconds", "copies")}},
        *({"event": "measured", "fields": {"products": [one]}} for one in data["products"]),
    ]
    monkeypatch.setattr(subject, "ask", lambda *_: events)
    found = subject.probe(first.survey, "cpu", ["float32", "bfloat16"])
    assert (found.place, found.copies, found.products) == (
        truth.place,
        truth.copies,
        truth.products,
    )
    monkeypatch.setattr(subject, "ask", lambda *_: events[:2])
    with pytest.raises(UsageError, match="cannot measure the ceilings of cpu: no copies or no"):
        subject.probe(first.survey, "cpu", ["float32"])
