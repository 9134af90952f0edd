"""Method in brief: the rule, how the cases were measured, and the command that does it again."""

from __future__ import annotations

from functools import partial

from paraformer_bench.report import facts, html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.html import Facts
from paraformer_bench.report.section import Block, Column, Section, Table

ORDER = 100

_METHOD = "../../docs/method.md"
"""Where a page finds the method, if its run lies in a checkout."""

_ABOUT = (
    "A block is one fresh process that visits every case; cases that will be compared are sampled "
    "side by side in short rounds of shuffled order. What counts is the median of a case in a "
    "block: two depths are compared within each block, and the ratios of the blocks make a t "
    "interval. A curve is constant if every pair of its depths is shown to grow by less than the "
    "margin, and grows if some pair is shown to grow by more. Before it is timed, every net is "
    "compared with its plain loop in float64. "
)


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    info = data.run.info
    if (data.run.folder / _METHOD).is_file():
        link = '<a href="{}">docs/method.md</a> has every formula, its source and how often the '
        where = html.rich(link + "verdict is wrong.", _METHOD)
    else:
        told = "Every formula, its source and how often the verdict is wrong stand in "
        where = html.rich("{}<code>docs/method.md</code> of the project.", told)
    body: list[Block] = [html.text(html.rich("{}{}", _ABOUT, where))]
    if spent := facts.efficiency(info):
        body.append(html.text(spent))
    claim, grids = facts.claim(info), facts.grids(info)
    if claim or grids:
        sheets = {"rule and effort": claim} if claim else {}
        if len(grids) == 1:
            sheets["grid"] = grids[0]
        body.append(html.sheets(sheets))
        if len(grids) > 1:
            body += [html.heading("grids"), _grids(grids)]
    else:
        body.append(html.text("This run did not record its protocol."))
    command = facts.command(info)
    nothing = html.text("This run did not record its command.")
    body += [html.heading("To measure it again"), html.listing(command) if command else nothing]
    return [Section("protocol", "Method in brief", body, "Method")]


def _grids(grids: list[Facts]) -> Block:
    def value(row: tuple[int, dict[str, str]], axis: str) -> str:
        return html.prose(row[1].get(axis, ""), 60)

    axes = dict.fromkeys(name for grid in grids for name, _ in grid)
    columns: list[Column[tuple[int, dict[str, str]]]] = [
        Column("grid", lambda row: str(row[0])),
        *(Column(html.rich("<bdi>{}</bdi>", axis), partial(value, axis=axis)) for axis in axes),
    ]
    rows = [(number, dict(grid)) for number, grid in enumerate(grids, start=1)]
    return Table(columns, rows, look="values", label="Axes of every grid")
