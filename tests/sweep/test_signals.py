"""Where a signal finds a sweep, and what the sweep still does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paraformer_bench.__main__ import main
from paraformer_bench.report.build import build_report
from paraformer_bench.study.record import Record
from paraformer_bench.study.run_folder import PAGE, RUN, Efficiency, read_run
from paraformer_bench.sweep.plan import Study
from paraformer_bench.sweep.run import Outcome
from paraformer_bench.sweep.signals import SIGNALS, interruptible, signals_held
from paraformer_bench.sweep.store import Store

Say = Callable[[str], None]


@pytest.fixture(autouse=True)
def strays() -> Iterator[list[int]]:
    """Signals that found nobody, which otherwise would end the process; none may."""
    strays: list[int] = []
    before = {n: signal.signal(n, lambda number, _: strays.append(number)) for n in SIGNALS}
    yield strays
    for number, handler in before.items():
        signal.signal(number, handler)
    assert strays == []


@pytest.fixture(params=SIGNALS, ids=lambda number: number.name)
def number(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def sweep(
    survey_of: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Run a sweep that measures nothing; return its exit code, its last line and stderr.

    It calls ``at`` with the name of each place that it comes to.
    """

    def sweep(at: Say) -> tuple[int, str, str]:
        def take_survey(plugins: object) -> Any:
            at("survey")
            return survey_of()

        def run_sweep(
            study: Study, store: Store, *_: Any, interruptible: Any, **__: Any
        ) -> Outcome:
            store.update(efficiency=Efficiency(1.0, 0.5, 0.5))
            at("before")
            interrupted = False
            try:
                with interruptible():
                    at("measured")
                    ok: dict[str, Any] = {"block": 0, "order": 0, "status": "ok"}
                    for case in study.plan.cases:
                        store.append([Record(case=case, wall_seconds=[1.0], **ok)])
            except KeyboardInterrupt:
                interrupted = True
            at("after")
            return Outcome(interrupted, 0, 1)

        def build(folder: Path) -> Path:
            at("page")
            return build_report(folder)

        monkeypatch.setattr("paraformer_bench.sweep.setup.take_survey", take_survey)
        monkeypatch.setattr("paraformer_bench.sweep.command.run_sweep", run_sweep)
        monkeypatch.setattr("paraformer_bench.report.build.build_report", build)
        code = main(["sweep", "--suite", "smoke", "--out", str(tmp_path / "run")])
        output = capsys.readouterr()
        return code, output.out.splitlines()[-1] if output.out else "", output.err

    return sweep


def resume(folder: Path) -> str:
    command = f"python -m paraformer_bench sweep --resume --out {folder / 'run'}"
    return f"interrupted; resume with: {command}"


def test_while_the_machine_is_looked_at(sweep, number: int, tmp_path: Path) -> None:
    def at(place: str) -> None:
        assert place == "survey"
        signal.raise_signal(number)

    code, _, errors = sweep(at)
    assert (code, errors.strip()) == (130, "interrupted")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("where", "finished"),
    [("before", False), ("measured", False), ("after", True), ("page", True)],
)
def test_from_then_on_there_is_a_page(
    sweep, number: int, where: str, finished: bool, tmp_path: Path
) -> None:
    def at(place: str) -> None:
        if place == where:
            signal.raise_signal(number)

    assert sweep(at) == (130, resume(tmp_path), "")
    assert (tmp_path / "run" / PAGE).exists()
    assert bool(read_run(tmp_path / "run").info.finished) is finished


def test_a_job_that_is_warned_and_then_ended_has_its_page(sweep, tmp_path: Path) -> None:
    def at(place: str) -> None:
        if place in ("measured", "page"):
            signal.raise_signal(signal.SIGTERM)

    assert sweep(at) == (130, resume(tmp_path), "")
    assert (tmp_path / "run" / PAGE).exists()


def test_the_second_signal_does_not_wait_for_the_page(sweep, number: int, tmp_path: Path) -> None:
    def at(place: str) -> None:
        if place in ("after", "page"):
            signal.raise_signal(number)

    assert sweep(at) == (130, resume(tmp_path), "")
    assert not (tmp_path / "run" / PAGE).exists()
    assert (tmp_path / "run" / RUN).exists()


def test_the_second_signal_does_not_break_into_keeping_what_there_is(number: int) -> None:
    kept = []
    with signals_held() as hold:

        def measured() -> None:
            with hold.released():
                try:
                    signal.raise_signal(number)
                finally:
                    signal.raise_signal(number)
                    kept.append("records")

        with pytest.raises(KeyboardInterrupt):
            measured()
        assert hold.came
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)  # the third one ends what hangs
    assert kept


def test_afterwards_signals_are_what_they_were(sweep, strays: list[int]) -> None:
    assert sweep(lambda place: None)[0] == 0
    for number in SIGNALS:
        signal.raise_signal(number)
    assert strays == list(SIGNALS)
    strays.clear()


@pytest.mark.parametrize("context", [interruptible, signals_held])
def test_ignored_ones_stay_ignored(context: Any, number: int) -> None:
    """As ``nohup`` has it for the loss of a terminal, and a shell's background for Ctrl-C."""
    signal.signal(number, signal.SIG_IGN)
    with context():
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN
