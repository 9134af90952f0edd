from __future__ import annotations

import io

import pytest
from rich.console import Console

from paraformer_bench.sweep.progress import SweepProgress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def plain() -> Console:
    return Console(file=io.StringIO(), width=60, soft_wrap=True, markup=False)


def test_without_a_terminal_there_is_a_line_now_and_then(clock: Clock) -> None:
    console = plain()
    with SweepProgress(console, 100, clock=clock) as progress:
        for _ in range(60):
            clock.now += 1
            progress.step(1, "serial-d1[b]")
    assert lines(console) == [
        " 15%  1 min 25 s left  serial-d1[b]",
        " 30%  1 min 10 s left  serial-d1[b]",
        " 45%  55 s left  serial-d1[b]",
        " 60%  40 s left  serial-d1[b]",
    ]


def test_on_a_terminal_the_bar_is_drawn_at_most_once_a_second(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    progress = SweepProgress(console, 100, clock=clock)
    sizes = set()
    for _ in range(40):
        clock.now += 0.125
        progress.step(1, "serial-d1")
        sizes.add(len(console.file.getvalue()))
    assert len(sizes) == 1 + 5  # as it stood at first, and once in each of five seconds
    assert "serial-d1" in console.file.getvalue()
    assert " 40%  8 s left" in console.file.getvalue()
    progress.__exit__()


def test_bar_is_taken_off_a_terminal_that_has_hung_up(clock: Clock) -> None:
    class Terminal(io.StringIO):
        there = True

        def isatty(self) -> bool:
            return self.there

    console = Console(file=Terminal(), width=100)
    progress = SweepProgress(console, 100, clock=clock)
    assert progress._bar.live.is_started
    Terminal.there = False
    progress.__exit__()
    assert not progress._bar.live.is_started


def test_estimate_follows_the_pace(clock: Clock) -> None:
    progress = SweepProgress(plain(), 10, clock=clock)
    clock.now += 4
    progress.step(2, "x")
    assert progress.seconds_left() == 16
    clock.now += 8
    progress.step(4, "x")
    assert progress.seconds_left() == 8
    progress.step(4, "x")
    assert progress.seconds_left() == 0


def test_estimate_before_the_first_step_is_cautious(clock: Clock) -> None:
    progress = SweepProgress(plain(), 10, clock=clock)
    assert progress.seconds_left() == 0
    clock.now += 3
    assert progress.seconds_left() == 30


def test_more_steps_than_foreseen(clock: Clock) -> None:
    """Cases whose worker was lost are visited again."""
    console = plain()
    progress = SweepProgress(console, 10, clock=clock)
    clock.now += 20
    progress.step(15, "x")
    assert progress.seconds_left() == 0
    assert lines(console) == ["100%  0 s left  x"]


def test_budget_bounds_the_estimate(clock: Clock) -> None:
    progress = SweepProgress(plain(), 1000, deadline=clock() + 60, clock=clock)
    clock.now += 20
    progress.step(1, "x")
    assert progress.seconds_left() == 40
    clock.now += 90
    assert progress.seconds_left() == 0


def test_nothing_to_do(clock: Clock) -> None:
    progress = SweepProgress(plain(), 0, clock=clock)
    progress.__exit__()
    assert progress.seconds_left() == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3599, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (3900, "1 h 5 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
