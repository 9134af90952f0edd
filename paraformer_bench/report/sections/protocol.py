"""Method in brief: the rule, how the cases were measured, and the command that does it again."""

from __future__ import annotations

from functools import partial

from paraformer_bench.report import facts, html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.page import Block, Column, Section, Table
from paraformer_bench.study.run_folder import RunInfo
from paraformer_bench.study.words import duration

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
_PROTOCOL = {
    "blocks": "blocks (fresh processes that visit every case)",
    "rounds": "rounds of each group within a block",
    "seconds_per_case": "seconds of samples for each case and block",
    "target_relative_error": "sampling stops at a relative error of",
    "timeout_seconds": "seconds before a case is given up",
    "energy_seconds": "seconds of the energy window of each case and block",
}


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
    if spent := _efficiency(info):
        body.append(html.text(spent))
    body += _protocol(info)
    command = facts.command(info)
    nothing = html.text("This run did not record its command.")
    body += [html.heading("To measure it again"), html.listing(command) if command else nothing]
    return [Section("protocol", "Method in brief", body, "Method")]


def _efficiency(info: RunInfo) -> str:
    """Say how much of the sweep's time was spent working; empty if unknown."""
    spent = info.efficiency
    if not spent or spent.wall_seconds <= 0:
        return ""
    wall, busy = spent.wall_seconds, spent.busy_seconds
    if spent.device_seconds:
        return (
            f"The sweep took {duration(wall)} on several devices at once; "
            f"{busy / spent.device_seconds:.0%} of their time ({duration(busy)}) passed in "
            f"warm-up or timed calls."
        )
    took = "The jobs of this run together took" if info.parts else "The sweep took"
    return (
        f"{took} {duration(wall)}; {duration(busy)} of it ({busy / wall:.0%}) "
        f"passed in warm-up or timed calls."
    )


def _protocol(info: RunInfo) -> list[Block]:
    """Show what the verdicts were judged by, how cases were measured, and which ones."""
    rule = list(facts.table(info.suite, "claim").items())
    protocol = facts.table(info.suite, "protocol")
    rule += [(_PROTOCOL.get(name, name), value) for name, value in protocol.items()]
    listed = info.suite.get("grid")
    grids = [
        {axis: facts.scalar(value) for axis, value in grid.items()}
        for grid in (listed if isinstance(listed, list) else [listed])
        if isinstance(grid, dict)
    ]
    if not rule and not grids:
        return [html.text("This run did not record its protocol.")]
    sheets = {}
    if rule:
        sheets["rule and effort"] = [(name, facts.scalar(value)) for name, value in rule]
    if len(grids) == 1:
        sheets["grid"] = list(grids[0].items())
    if len(grids) < 2:
        return [html.sheets(sheets)]

    def value(row: tuple[int, dict[str, str]], axis: str) -> str:
        return html.prose(row[1].get(axis, ""), 60)

    axes = dict.fromkeys(axis for grid in grids for axis in grid)
    columns = [Column[tuple[int, dict[str, str]]]("grid", lambda row: str(row[0]))]
    columns += [Column(html.rich("<bdi>{}</bdi>", a), partial(value, axis=a)) for a in axes]
    rows = list(enumerate(grids, start=1))
    table = Table(columns, rows, look="values", label="Axes of every grid")
    return [html.sheets(sheets), html.heading("grids"), table]
