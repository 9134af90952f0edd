"""Environment: the machine, its versions and its ceilings; the parts of a merged run."""

from __future__ import annotations

from paraformer_bench.report import facts, html
from paraformer_bench.report.data import ReportData
from paraformer_bench.report.section import Section

ORDER = 90

_NOTHING = "This run did not record its environment."


def sections(data: ReportData) -> list[Section]:
    """Return the section."""
    info = data.run.info
    told = facts.environment(info)
    told += [("ceilings", facts.ceilings(info)), ("parts", facts.parts(info))]
    sheets = html.sheets({name: held for name, held in told if held})
    body = sheets if any(held for _, held in told) else html.text(_NOTHING)
    return [Section("environment", "Environment", [body], "Environment")]
