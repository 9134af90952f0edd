"""Environment: the machine, its versions and its ceilings; the parts of a merged run."""

from __future__ import annotations

from paraformer_bench.report import facts
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.html import prose
from paraformer_bench.report.section import Block, Heading, Pairs, Section, Sheets, Text

ORDER = 90


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    info = data.run.info
    told = facts.environment(info)
    told += [("ceilings", facts.ceilings(info)), ("parts", facts.parts(info))]
    sheets: list[list[Block]] = [
        [Heading(prose(name)), Pairs(held)] for name, held in told if held
    ]
    nothing = Text("This run did not record its environment.")
    body = [Sheets(sheets) if sheets else nothing]
    return [Section("environment", "Environment", body, "Environment")]
