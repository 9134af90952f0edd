"""From results to changes: which benchmark changed at which commit, and which had no data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paraformer_bench.history.change import (
    NO_RESULT,
    NOT_THERE,
    THRESHOLD,
    TOO_FEW,
    Gap,
    Judgement,
)
from paraformer_bench.history.history import History
from paraformer_bench.history.kinds import EXACT, TIME, device_of, first_word, kind_of
from paraformer_bench.history.panel import Panel, held
from paraformer_bench.history.results import (
    FAILED,
    NOT_APPLICABLE,
    OK,
    Cell,
    Name,
    Results,
    Series,
)
from paraformer_bench.history.scatter import FEWEST_BLOCKS

_HAS_DATA = ""


def judge(
    results: Results, history: History, judged: frozenset[str], threshold: float = THRESHOLD
) -> Judgement:
    """Find every change in the history of every benchmark.

    The whole history is looked at, and the chance of a false alarm is bounded over all of it;
    ``judged`` says of which commits the changes are told.
    """
    judgement = Judgement(history, judged, threshold)
    panels: dict[tuple[str, ...], list[Series]] = {}
    kinds = {series.name: kind_of(series) for series in results.series}
    for series in results.series:
        panels.setdefault(_panel(series, kinds[series.name]), []).append(series)
    known = {key: Panel(key[0], members, history) for key, members in panels.items()}
    scattering = [panel for panel in known.values() if panel.kind != EXACT]
    judgement.tests = sum(panel.places for panel in scattering)
    restless = {
        key[1:4]: panel.restlessness()
        for key, panel in known.items()
        if panel.kind == TIME and panel.members[0].tracked
    }
    for key, panel in known.items():
        if panel.kind == EXACT:
            panel.follow(judgement)
        elif panel.places:
            apart = panel.kind == TIME and not panel.members[0].tracked
            panel.fit(judgement, restless.get(key[1:4]) if apart else None)
        else:
            panel.show(judgement, None)
    order = {series.name: place for place, series in enumerate(results.series)}
    places = {commit.hash: place for place, commit in enumerate(history.commits)}
    judgement.tracks.sort(key=lambda track: order[track.series.name])
    judgement.changes.sort(key=lambda c: (places[c.commit.hash], -c.size, order[c.name]))
    judgement.unjudged = [
        series.name for panel in scattering for series in panel.without_scatter()
    ]
    judgement.gaps = list(_gaps(results, history, kinds, judgement))
    return judgement


def _panel(series: Series, kind: str) -> tuple[str, ...]:
    """What must be equal for series to be judged together."""
    shared = (kind, series.name.machine, series.name.environment)
    if kind == TIME:  # of a GPU and of a CPU one can be slow without the other
        apart = "" if series.tracked else "apart"  # at another minute than all others
        return (*shared, device_of(series.name), apart)
    return (*shared, first_word(series.unit))


def _gaps(
    results: Results, history: History, kinds: Mapping[Name, str], judgement: Judgement
) -> Iterable[Gap]:
    groups: dict[tuple[str, str], list[Series]] = {}
    skipped = set(judgement.unjudged)
    for series in results.series:
        if series.name not in skipped:
            groups.setdefault((series.name.machine, series.name.environment), []).append(series)
    for commit in history.commits:
        if commit.hash not in judgement.judged:
            continue
        found: dict[tuple[str, bool], list[Name]] = {}
        for key, members in groups.items():
            if commit.hash not in results.measured.get(key, ()):
                continue
            reasons = {s.name: _reason(s.cells.get(commit.hash), kinds[s.name]) for s in members}
            whole = len(set(reasons.values()) - {NOT_APPLICABLE}) == 1
            for name, reason in reasons.items():
                if reason not in (_HAS_DATA, NOT_APPLICABLE):
                    found.setdefault((reason, whole), []).append(name)
        for (reason, whole), names in found.items():
            yield Gap(commit, reason, tuple(names), whole)


def _reason(cell: Cell | None, kind: str) -> str:
    """Why a series has no data at a commit, or that it has."""
    if cell is None:
        return NOT_THERE
    if cell.status != OK:
        return NO_RESULT if cell.status == FAILED else NOT_APPLICABLE
    enough = kind == EXACT or len(held(cell, kind)[0]) >= FEWEST_BLOCKS
    return _HAS_DATA if enough else TOO_FEW
