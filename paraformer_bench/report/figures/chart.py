"""A figure of a page: a row of panels, a legend, a note and its values as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from paraformer_bench.report.data import Conditions
from paraformer_bench.report.figures import panel as one
from paraformer_bench.report.figures import style, svg
from paraformer_bench.report.figures.panel import Axis, Frame, frames
from paraformer_bench.report.figures.series import Panel, Series
from paraformer_bench.report.figures.style import Look
from paraformer_bench.report.html import Swatches, rich
from paraformer_bench.report.page import Chart, ChartPanel, Column, Table
from paraformer_bench.study.words import NONE, short, span

Values = tuple[int | None, str, dict[int, str]]
"""A row of the table: number of the line, label, and text by depth."""


def chart(
    key: str,
    title: str,
    note: str,
    panels: Sequence[Panel],
    axis: Axis,
    looks: Mapping[str, Look],
    regimes: Mapping[str, Conditions],
) -> Chart | None:
    """Draw a figure with its legend and tables; null where there is no point to draw.

    Args:
        key: Anchor, and start of every id.
        title: What is drawn.
        note: How to read it.
        panels: Those of one device share their axes where that leaves enough of them.
        axis: What stands on the y axis.
        looks: Of every curve, by its label.
        regimes: Words for the panels, by their groups.
    """
    if not any(series.points for panel in panels for series in panel.series):
        return None
    drawn: list[ChartPanel] = []
    apart = False
    with style.drawing():
        for device in dict.fromkeys(panel.device for panel in panels):
            shared = [panel for panel in panels if panel.device == device]
            limits_of = frames(shared, axis)
            apart = apart or len({(limits.low, limits.high) for limits in limits_of}) > 1
            for panel, limits in zip(shared, limits_of, strict=True):
                regime = regimes[panel.group]
                figure = one.draw(panel, axis, limits, looks)
                name, what = f"{key}-{len(drawn) + 1}", f"{title}: {regime.full}"
                drawing = svg.to_svg(figure, name, what, _describe(panel, axis))
                values = _table(title, panel, axis, limits, looks, regime)
                drawn.append(ChartPanel(regime.number, regime.short, drawing, values))
        legend = _legend(key, panels, looks)
    if apart:
        note += " Each panel starts where its values do; a factor is equally tall in all of them."
    elif len(drawn) > 1:
        note += " All panels share one axis."
    return Chart(drawn, key, title, note, axis.unit, legend)


def _legend(key: str, panels: Sequence[Panel], looks: Mapping[str, Look]) -> Swatches:
    curves = {s.curve.label: s.curve for panel in panels for s in panel.series}
    ordered = sorted(curves.values(), key=lambda curve: curve.sort_key)
    entries: list[tuple[str, Look | None]] = [(c.label, looks[c.label]) for c in ordered]
    if any(panel.weights for panel in panels):
        entries.append(("weights", None))
    legend = []
    for number, (label, look) in enumerate(entries, start=1):
        words = look.words if look else "thin dotted line"
        drawing = svg.to_svg(one.swatch(look), f"{key}-swatch-{number}", words, "legend")
        legend.append((look.number if look else None, label, drawing))
    return legend


def _table(
    title: str,
    panel: Panel,
    axis: Axis,
    limits: Frame,
    looks: Mapping[str, Look],
    regime: Conditions,
) -> Table[Values]:
    rows: list[Values] = [
        (looks[s.curve.label].number, s.curve.label, _texts(s)) for s in panel.series
    ]
    rows += [
        (None, "weights", {depth: short(size) for depth, size in sizes.items()})
        for sizes in panel.weights
    ]
    who = Column[Values]("method", lambda row: rich("<bdi>{}</bdi>", row[1]))
    at = [Column(str(depth), partial(_at, depth=depth)) for depth in limits.depths]
    return Table(
        [who, *at],
        rows,
        look="values",
        label=f"{title}, {regime.short}",
        caption=rich("<bdi>{}</bdi>: {}, at depth L", regime.short, axis.label),
        region={"data-regime": regime.number},
        attributes=lambda row: {"data-line": row[0]},
    )


def _at(row: Values, depth: int) -> str:
    return row[2].get(depth, NONE)


def _describe(panel: Panel, axis: Axis) -> str:
    """Say what the panel shows: first and last value of each curve, and what was lost."""
    clauses = []
    for series in panel.series:
        clause = series.curve.label
        if series.points:
            first, last = series.points[0], series.points[-1]
            clause += f": {_text(first.value)} at depth {first.depth}"
            if last is not first:
                clause += f", {_text(last.value)} at depth {last.depth}"
        lost = ", ".join(f"{fate} at depth {depth}" for depth, fate in sorted(series.lost.items()))
        clauses.append(f"{clause}; {lost}" if lost else clause)
    return f"{axis.label}. {'. '.join(clauses)}."


def _texts(series: Series) -> dict[int, str]:
    """Return by depth what stands in the table: a value, or why there is none."""
    texts = dict(series.lost)
    for point in series.points:
        interval = span(point.low, point.high)
        texts[point.depth] = _text(point.value) + (f" ({interval})" if interval else "")
    return texts


def _text(value: float) -> str:
    """Return a value as text; a count, which is an int, keeps all of its digits."""
    return f"{value:,}" if isinstance(value, int) else short(value)
