"""What changed over commits: as JSON and as a page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from markupsafe import Markup

from paraformer_bench.history.changes import (
    IMPROVEMENT,
    REGRESSION,
    SMALL,
    Change,
    Judgement,
    Moved,
    Track,
)
from paraformer_bench.history.commits import Commit
from paraformer_bench.history.results import BYTES, SECONDS, Name, first_word
from paraformer_bench.report import changes, html, page
from paraformer_bench.report.changes import GapRun
from paraformer_bench.report.figures import history, style, svg
from paraformer_bench.report.page import (
    Attributes,
    Block,
    Cell,
    Chart,
    ChartPanel,
    Column,
    Fold,
    Page,
    Section,
    Table,
)
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import as_json
from paraformer_bench.study.words import MIB, NONE, count, printable, times, upper_first

PAGE = "index.html"
MOST_FIGURES = 60
"""A page with more is slow to open; the tables hold all changes."""
_SYMBOLS = {REGRESSION: "↘", IMPROVEMENT: "↗", SMALL: "="}
_TONES = {REGRESSION: "grows", IMPROVEMENT: "constant", SMALL: "inconclusive"}

_COUNTS = (
    "A change counts if it is sure, whatever the number of benchmarks and commits, and its "
    "estimate beyond the threshold."
)
_HISTORY = (
    "Points are commits, from the oldest to the newest: the mean of the middle half of their "
    "blocks, without what the machine did to all times alike. Hollow grey circles are the same "
    "with the machine left in, where that makes a difference of 1%; what lies far off is in the "
    "table alone. Short faint dashes are single blocks, lines the levels that were found. Dashed "
    "upright lines with an orange triangle pointing down mark regressions, with a green one "
    "pointing up improvements."
)
_MACHINE = (
    "Times of most benchmarks over those at a typical commit. As hardly any commit slows most "
    "benchmarks by the same factor, this is taken for the machine and left out, unless the "
    "sentinel, a net that never changes, says otherwise."
)
_RULE = (
    "The observations are block medians, each of a fresh process. The value of a commit is their "
    "trimmed mean on the logarithmic scale, relative to what most other times of the same commit "
    "and machine did. Every benchmark is taken to stay on one level but for a few steps; the "
    "levels are those of least squared distance plus a price for every step, which is set so that "
    "a history in which nothing changed is called changed in about one of a thousand. How far "
    "values scatter is told by the blocks of all benchmarks together, and by how unevenly a "
    "commit moved them. {} looked at. Intervals hold the size of a change with 95%. Counts "
    "scatter not at all: any difference of theirs is a change."
)


def write_json(target: str, found: Sequence[Change]) -> None:
    """Write the list of changes to a file, or to stdout for ``-``.

    Raises:
        UsageError: The file cannot be written.
    """
    text = as_json([change.to_json() for change in found])
    if target == "-":
        sys.stdout.write(text.decode())
        return
    try:
        Path(target).write_bytes(text)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


def write_changes(folder: Path, judgement: Judgement, warnings: Sequence[str]) -> Path:
    """Write the page ``index.html`` into a folder and return its path.

    Raises:
        UsageError: The folder cannot be written.
    """
    return page.write(folder / PAGE, page.render(_page(judgement, warnings)))


def _page(judgement: Judgement, warnings: Sequence[str]) -> Page:
    told = any(change.verdict != SMALL for change in judgement.changes)
    tone = "refuted" if judgement.regressions else "supported" if told else "undecided"
    first, *_, last = [judgement.history.commits[0], *judgement.history.commits]
    slash = ' <span aria-hidden="true">/</span> '
    place = [
        html.rich("Regressions"),
        html.rich(
            "{}, <code>{}</code> to <code>{}</code>",
            count(len(judgement.history.commits), "commit"),
            first.short,
            last.short,
        ),
        html.joined(
            ", ", [html.rich("<bdi>{}</bdi>", machine) for machine in _machines(judgement)]
        ),
    ]
    notes = [note.removeprefix("note: ") for note in changes.notes(judgement)]
    places = count(judgement.tests, "place") + " for a change"
    rule = _RULE.format(f"{places} {'was' if judgement.tests == 1 else 'were'}")
    return Page(
        title=_title(judgement),
        place=html.joined(slash, place),
        question="Did a commit make anything slower or larger?",
        heading=_title(judgement),
        tone=tone,
        claims=[
            f"{upper_first(changes.summary(judgement))}. {_COUNTS}",
            *(f"{upper_first(note)}." for note in notes),
        ],
        sections=[
            *_changes(judgement),
            *_figures(judgement),
            *_small(judgement),
            *_moved(judgement),
            _every(judgement),
            *_gaps(judgement, warnings),
            Section("rule", "The rule", [html.text(rule)]),
        ],
    )


def _machines(judgement: Judgement) -> list[str]:
    return sorted({track.series.name.machine for track in judgement.tracks})


def _who(judgement: Judgement, name: Name) -> Cell:
    """Name a benchmark, and its machine if there are several."""
    several = len(_machines(judgement)) > 1
    machine = html.rich("<bdi>{}</bdi>", name.machine) if several else ""
    return Cell(html.rich("<bdi>{}</bdi>", name.label), machine)


def _commit(commit: Commit, most: int = 120) -> Markup:
    return html.rich("<code>{}</code> {}", commit.short, html.prose(commit.subject, most))


def _title(judgement: Judgement) -> str:
    worse = judgement.regressions
    if worse:
        commits = len({change.commit.hash for change in worse})
        places = "one commit" if commits == 1 else f"{commits} commits"
        return f"{count(len(worse), 'regression')} at {places}."
    if any(change.verdict == IMPROVEMENT for change in judgement.changes):
        return "Nothing became worse, and something better."
    return "Nothing changed for sure."


def _table(judgement: Judgement, rows: Sequence[Change], with_commit: bool = False) -> Block:
    def verdict(change: Change) -> str:
        return html.badge(change.verdict, _SYMBOLS[change.verdict], _TONES[change.verdict])

    def size(change: Change) -> Cell:
        return Cell(html.rich("<b>{}</b>", changes.size(change)), key=change.size)

    columns: list[Column[Change]] = [
        Column("benchmark", lambda change: _who(judgement, change.name)),
        Column("verdict", verdict),
        Column("new / old", size),
        Column("interval", changes.interval),
        Column("old → new", changes.values),
    ]
    if with_commit:
        columns.append(Column("commit", lambda change: _commit(change.commit)))
    look = "sortable plain" if with_commit else "sortable plain changes"
    return Table(columns, rows, look)


def _changes(judgement: Judgement) -> list[Section]:
    body: list[Block] = []
    for group in changes.groups(judgement.changes):
        body.append(html.heading(_commit(group.commit, 240)))
        if group.between:
            have = "has" if group.between == 1 else "have"
            gap = f"{count(group.between, 'commit')} just before it {have} no data"
            body.append(html.text(f"{gap}: the cause may lie there.", "small"))
        body.append(_table(judgement, group.changes))
    return [Section("changes", "Changes", body)] if body else []


def _small(judgement: Judgement) -> list[Section]:
    small = [change for change in judgement.changes if change.verdict == SMALL]
    table = _table(judgement, small, with_commit=True)
    return [Section("small", "Sure, but below the threshold", [table])] if small else []


def _moved(judgement: Judgement) -> list[Section]:
    moved = [one for one in judgement.moved if abs(one.ratio - 1) > changes.MOVED]
    columns: list[Column[Moved]] = [
        Column("commit", lambda one: _commit(one.commit)),
        Column("times", lambda one: times(one.ratio)),
    ]
    if len(_machines(judgement)) > 1:
        columns.append(Column("machine", lambda one: one.machine))
    body: list[Block] = [html.text(_MACHINE), Table(columns, moved, "plain")]
    return [Section("machine", "What the machine did", body)] if moved else []


def _every(judgement: Judgement) -> Section:
    """Show the first and the last level of every benchmark."""

    def level(track: Track, place: int) -> str:
        return changes.value(track.levels[place], track.series.unit)

    def ratio(track: Track) -> str:
        before, after = track.levels[0], track.levels[-1]
        return f"{after / before:.3f}×" if before > 0 and after > 0 else NONE

    columns: list[Column[Track]] = [
        Column("benchmark", lambda track: _who(judgement, track.series.name)),
        Column("commits", lambda track: str(len(track.commits))),
        Column("first", partial(level, place=0)),
        Column("last", partial(level, place=-1)),
        Column("last / first", ratio),
    ]
    number = count(len(judgement.tracks), "benchmark")
    words = f"{number}: levels at the first and at the last commit with data"
    return Section("all", "All benchmarks", [Fold(words, [Table(columns, judgement.tracks)])])


def _gaps(judgement: Judgement, warnings: Sequence[str]) -> list[Section]:
    def where(gap: GapRun) -> str:
        commits = [_commit(commit) for commit in gap.commits[:3]]
        more = len(gap.commits) - len(commits)
        rest = html.rich(" <small>and {}</small>", count(more, "more commit")) if more else ""
        return html.rich("{}{}", html.joined("<br>", commits), rest)

    def names(gap: GapRun) -> str:
        if gap.whole:
            return f"all {len(gap.names)}"
        return html.prose(f"{len(gap.names)}: {', '.join(name.label for name in gap.names)}")

    columns: list[Column[GapRun]] = [
        Column("commit", where),
        Column("why", lambda gap: gap.reason),
        Column("benchmarks", names),
    ]
    body: list[Block] = []
    if judgement.gaps:
        body.append(Table(columns, changes.merged(judgement.gaps), "plain"))
    if warnings:
        body.append(html.bullets(warnings))
    return [Section("gaps", "What had no data", body)] if body else []


def _figures(judgement: Judgement) -> list[Section]:
    tracks = {track.series.name: track for track in judgement.tracks}
    told = (c for group in changes.groups(judgement.changes) for c in group.changes)
    names = list(dict.fromkeys(change.name for change in told))
    if not names:
        return []
    several = len(_machines(judgement)) > 1
    panels = []
    with style.drawing():
        for number, name in enumerate(names[:MOST_FIGURES], start=1):
            track = tracks[name]
            verdicts = {c.commit.hash: c.verdict for c in judgement.changes if c.name == name}
            scale, unit = _axis(track)
            figure = history.draw(track, judgement.history.commits, verdicts, scale, unit)
            words = history.words(track, scale, unit)
            drawing = svg.to_svg(figure, f"history-{number}", name.label, words)
            label = f"{name.label}, {name.machine}" if several else name.label
            values = _values(label, unit, track, judgement.history.commits, scale)
            panels.append(ChartPanel(None, label, drawing, values))
    body: list[Block] = [html.text(_HISTORY), Chart(panels)]
    if more := max(len(names) - MOST_FIGURES, 0):
        words = html.be(more, "more benchmark", " changed and")
        body.append(html.text(f"{words} not drawn.", "small"))
    return [Section("history", "History of what changed", body)]


def _axis(track: Track) -> tuple[float, str]:
    """Return the factor to the unit of the axis, and that unit."""
    unit = printable(track.series.unit)
    word = first_word(unit)
    rest = unit[len(word) :]
    largest = max(abs(value) for value in track.values)
    if word in SECONDS:
        seconds = largest * SECONDS[word]
        factor, name = (1e6, "µs") if seconds < 1e-3 else (1e3, "ms") if seconds < 1 else (1, "s")
        return SECONDS[word] * factor, name + rest
    if word in BYTES:
        return BYTES[word] * MIB, "MiB" + rest
    return 1.0, unit or "value"


def _values(
    label: str, unit: str, track: Track, commits: Sequence[Commit], scale: float
) -> Table[Commit]:
    places = {commit.hash: place for place, commit in enumerate(track.commits)}

    def number(commit: Commit, values: Sequence[float]) -> str:
        place = places.get(commit.hash)
        return NONE if place is None else f"{values[place] * scale:,.5g}"

    def blocks(commit: Commit) -> str:
        return str(len(track.blocks[places[commit.hash]])) if commit.hash in places else "0"

    who = "<code>{}</code> <bdi>{}</bdi>"
    columns: list[Column[Commit]] = [
        Column("commit", lambda commit: html.rich(who, commit.short, commit.subject[:60])),
        Column("value", partial(number, values=track.values)),
        Column("as measured", partial(number, values=track.measured)),
        Column("level", partial(number, values=track.levels)),
        Column("blocks", blocks),
    ]
    attributes: Attributes = {}
    return Table(columns, commits, "values", label, unit, attributes)
