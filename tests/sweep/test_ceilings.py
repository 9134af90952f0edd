"""When a sweep measures the ceilings, and what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console

from paraformer_bench.study.ceilings import Ceilings, Limits
from paraformer_bench.study.events import Done, Event, Measured
from paraformer_bench.study.job import CeilingsJob
from paraformer_bench.study.machine_file import CEILINGS
from paraformer_bench.study.run_folder import RunInfo, Shard, read_run
from paraformer_bench.sweep.plan import Settings, Study
from paraformer_bench.sweep.run import ceilings_needed, note_ceilings
from paraformer_bench.sweep.setup import open_store, set_up


@pytest.fixture
def study(
    survey_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Study]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", lambda _: survey_of())
    settings = Settings(suite="smoke", out=tmp_path / "run")
    return lambda: set_up(settings)


class Prober:
    """A child process that measures ceilings in no time, or dies.

    Attributes:
        asked: Device and precisions of every job.
        flags: What disturbs it.
        dies: It ends without a word.
    """

    def __init__(self, ceilings_of: Callable[..., Ceilings], survey: Any) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.flags: tuple[str, ...] = ()
        self.dies = False
        self._made = lambda dtypes: ceilings_of(survey, dtypes)
        self._said: list[Event] = []

    def __call__(self, job: CeilingsJob) -> Prober:
        self.asked.append((job.device, list(job.dtypes)))
        ceilings = self._made(job.dtypes)
        limits = {name: getattr(ceilings, name) for name in Limits.__struct_fields__}
        measured = Measured(limits=Limits(**(limits | {"flags": self.flags})))
        self._said = [] if self.dies else [measured, Done()]
        return self

    def next_event(self, seconds: float) -> Event | None:
        return self._said.pop(0) if self._said else None

    def close(self) -> str:
        return "it died"


@pytest.fixture
def prober(ceilings_of: Callable[..., Ceilings], survey_of: Callable[..., Any]) -> Prober:
    return Prober(ceilings_of, survey_of())


@pytest.fixture
def made(
    ceilings_of: Callable[..., Ceilings], survey_of: Callable[..., Any]
) -> Callable[..., Ceilings]:
    return lambda *fields: ceilings_of(survey_of(), *fields)


@pytest.fixture
def note(prober: Prober) -> Callable[[Study], tuple[RunInfo, str]]:
    """Note ceilings in a new run; return ``run.json``, and what was said."""

    def note(study: Study) -> tuple[RunInfo, str]:
        said = io.StringIO()
        with open_store(study, Settings()) as store:
            note_ceilings(study, store, Console(file=said, width=200), prober)
        return read_run(study.folder).info, said.getvalue()

    return note


def test_without_any_they_are_measured_kept_and_noted(study, note, prober) -> None:
    info, said = note(study())
    assert prober.asked == [("cpu", ["float32"])]
    assert "measuring the ceilings of cpu" in said
    kept = study().ceilings
    assert kept is not None
    assert info.ceilings == kept
    assert info.ceilings_reason is None


def test_fresh_ones_are_taken(study, note, prober, made) -> None:
    kept = made(("float32",), 6.9)
    assert CEILINGS.keep(kept) == []
    info, said = note(study())
    assert (prober.asked, said) == ([], "")
    assert info.ceilings == kept


@pytest.mark.parametrize(("dtypes", "age"), [(("float32",), 7.1), (("bfloat16",), 0.0)])
def test_stale_or_incomplete_ones_are_measured_again(
    study, note, prober, made, dtypes, age
) -> None:
    CEILINGS.keep(made(dtypes, age))
    info, _ = note(study())
    # What was known of another precision is measured along, or it would be lost.
    assert prober.asked == [("cpu", sorted({"float32", *dtypes}))]
    assert set(info.ceilings.dtypes) == {"float32", *dtypes}


def test_disturbed_ones_serve_their_run_and_are_measured_again(study, note, prober) -> None:
    prober.flags = ("cpu_busy",)
    info, said = note(study())
    assert info.ceilings.flags == ("cpu_busy",)
    assert "warning: the ceilings are not to be trusted and will be measured again" in said
    assert study().ceilings == info.ceilings
    assert ceilings_needed(study())


def test_those_of_another_device_do_not_count(study, note, prober, made) -> None:
    CEILINGS.keep(structs.replace(made(), torch="2.6.0"))
    note(study())
    assert prober.asked == [("cpu", ["float32"])]


def test_a_probe_that_fails_is_a_reason_and_no_end(study, note, prober) -> None:
    prober.dies = True
    info, said = note(study())
    assert info.ceilings is None
    assert info.ceilings_reason == "cannot measure the ceilings of cpu: it died"
    assert "warning: cannot measure the ceilings of cpu: it died" in said


def test_a_resumed_run_keeps_its_own(study, note) -> None:
    first = study()
    info, _ = note(first)
    assert not ceilings_needed(replace(first, resumed=info, ceilings=None))
    without = structs.replace(info, ceilings=None)
    assert ceilings_needed(replace(first, resumed=without, ceilings=None))


def test_a_precision_that_is_not_there_is_not_asked_for_again(study, made) -> None:
    kept = structs.replace(made(("bfloat16",)), missing=("float32",))
    assert not ceilings_needed(replace(study(), ceilings=kept))


def test_a_complete_run_is_not_probed(study, prober) -> None:
    first = study()
    with open_store(first, Settings()) as store:
        for case in first.plan.cases:
            store.done |= {(case.id, block) for block in range(first.plan.blocks)}
        note_ceilings(first, store, Console(file=io.StringIO()), prober)
    assert read_run(first.folder).info.ceilings is None
    assert prober.asked == []


def test_where_nothing_is_measured_nothing_is_probed(study) -> None:
    first = study()
    assert not ceilings_needed(replace(first, plan=replace(first.plan, cases=[])))


def test_a_shard_probes_if_something_fell_to_it(study) -> None:
    first = study()
    blocks = first.plan.blocks
    for number in (blocks, blocks + 1):  # one group of cases: the last shard is empty
        shard = Shard(number, blocks + 1, blocks)
        part = replace(first, plan=replace(first.plan, shard=shard))
        assert ceilings_needed(part) == (number == blocks)
