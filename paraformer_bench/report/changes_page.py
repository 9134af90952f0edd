"""What changed over commits: as JSON and as a page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from paraformer_bench.history.changes import (
    IMPROVEMENT,
    REGRESSION,
    SMALL,
    Change,
    Judgement,
    Track,
)
from paraformer_bench.history.commits import Commit
from paraformer_bench.history.results import BYTES, SECONDS, Name, first_word
from paraformer_bench.report import change_lines, history_chart, page, style, svg, units
from paraformer_bench.study.errors import UsageError

PAGE = "index.html"
MOST_FIGURES = 60
"""A page with more is slow to open; the tables hold all changes."""
_SYMBOLS = {REGRESSION: "↘", IMPROVEMENT: "↗", SMALL: "="}
_TONES = {REGRESSION: "grows", IMPROVEMENT: "constant", SMALL: "inconclusive"}


@dataclass(frozen=True)
class Row:
    """One change, as text."""

    change: Change
    symbol: str
    tone: str
    size: str
    interval: str
    values: str


@dataclass(frozen=True)
class Panel:
    """One benchmark that changed.

    Attributes:
        label: Benchmark and parameters.
        svg: Its history.
        unit: Of the figure and the table.
        rows: Commit, subject, value, as measured, level and blocks, for the table.
    """

    label: str
    svg: Markup
    unit: str
    rows: list[tuple[str, ...]]


def write_json(target: str, changes: Sequence[Change]) -> None:
    """Write the list of changes to a file, or to stdout for ``-``.

    Raises:
        UsageError: The file cannot be written.
    """
    text = json.dumps([change.to_json() for change in changes], indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


def write_changes(folder: Path, judgement: Judgement, warnings: Sequence[str]) -> Path:
    """Write the page ``index.html`` into a folder and return its path.

    Raises:
        UsageError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from None
    groups = change_lines.groups(judgement.changes)
    told = [change for group in groups for change in group.changes]
    small = [change for change in judgement.changes if change.verdict == SMALL]
    changed = list(dict.fromkeys(change.name for change in told))
    worse = len(judgement.regressions)
    commits = judgement.history.commits
    return page.write(
        folder / PAGE,
        page.render(
            "changes.html.j2",
            title=_title(judgement),
            tone="refuted" if worse else "supported" if told else "undecided",
            summary=change_lines.summary(judgement),
            notes=[note.removeprefix("note: ") for note in change_lines.notes(judgement)],
            machines=sorted({track.series.name.machine for track in judgement.tracks}),
            first=commits[0],
            last=commits[-1],
            commits=len(commits),
            groups=[(group, [_row(c) for c in group.changes]) for group in groups],
            small=[_row(change) for change in small],
            panels=_panels(judgement, changed[:MOST_FIGURES]),
            left_out=max(len(changed) - MOST_FIGURES, 0),
            moved=[
                (m.commit, m.machine, units.times(m.ratio))
                for m in judgement.moved
                if abs(m.ratio - 1) > change_lines.MOVED
            ],
            every=[_ends(track) for track in judgement.tracks],
            gaps=change_lines.merged(judgement.gaps),
            tests=judgement.tests,
            threshold=judgement.threshold,
            warnings=warnings,
        ),
    )


def _title(judgement: Judgement) -> str:
    worse = judgement.regressions
    if worse:
        commits = len({change.commit.hash for change in worse})
        places = "one commit" if commits == 1 else f"{commits} commits"
        return f"{units.count(len(worse), 'regression')} at {places}."
    if any(change.verdict == IMPROVEMENT for change in judgement.changes):
        return "Nothing became worse, and something better."
    return "Nothing changed for sure."


def _row(change: Change) -> Row:
    return Row(
        change,
        _SYMBOLS[change.verdict],
        _TONES[change.verdict],
        change_lines.size(change),
        change_lines.interval(change),
        change_lines.values(change),
    )


def _ends(track: Track) -> tuple[str, str, int, str, str, str]:
    """Name, machine, commits, first and last level of a benchmark, and their ratio."""
    before, after = track.levels[0], track.levels[-1]
    return (
        track.series.name.label,
        track.series.name.machine,
        len(track.commits),
        change_lines.value(before, track.series.unit),
        change_lines.value(after, track.series.unit),
        f"{after / before:.3f}×" if before > 0 and after > 0 else units.NONE,
    )


def _panels(judgement: Judgement, names: Sequence[Name]) -> list[Panel]:
    tracks = {track.series.name: track for track in judgement.tracks}
    commits = judgement.history.commits
    several = len({name.machine for name in tracks}) > 1
    panels = []
    with style.drawing():
        for number, name in enumerate(names, start=1):
            track = tracks[name]
            verdicts = {c.commit.hash: c.verdict for c in judgement.changes if c.name == name}
            scale, unit = _axis(track)
            figure = history_chart.draw(track, commits, verdicts, scale, unit)
            told = history_chart.words(track, scale, unit)
            drawing = svg.to_svg(figure, f"history-{number}", name.label, told)
            label = f"{name.label}, {name.machine}" if several else name.label
            panels.append(Panel(label, drawing, unit, _table(track, commits, scale)))
    return panels


def _axis(track: Track) -> tuple[float, str]:
    """Return the factor to the unit of the axis, and that unit."""
    unit = units.printable(track.series.unit)
    word = first_word(unit)
    rest = unit[len(word) :]
    largest = max(abs(value) for value in track.values)
    if word in SECONDS:
        seconds = largest * SECONDS[word]
        factor, name = (1e6, "µs") if seconds < 1e-3 else (1e3, "ms") if seconds < 1 else (1, "s")
        return SECONDS[word] * factor, name + rest
    if word in BYTES:
        return BYTES[word] * units.MIB, "MiB" + rest
    return 1.0, unit or "value"


def _table(track: Track, commits: Sequence[Commit], scale: float) -> list[tuple[str, ...]]:
    known = {commit.hash: place for place, commit in enumerate(track.commits)}
    rows: list[tuple[str, ...]] = []
    for commit in commits:
        place = known.get(commit.hash)
        cells: tuple[str, ...] = (units.NONE, units.NONE, units.NONE, "0")
        if place is not None:
            told = (track.values[place], track.measured[place], track.levels[place])
            cells = (*(f"{v * scale:,.5g}" for v in told), str(len(track.blocks[place])))
        rows.append((commit.short, commit.subject, *cells))
    return rows
